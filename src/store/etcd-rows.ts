/** Reading every value of etcd, batch after batch in the order of the keys, at one revision.
 *
 *  etcd looks at each key of a range, however few of them are asked for: read in pages to its end, a range costs the square of
 *  what is in it. So a batch is asked of a window, the keys that have their first characters in common with the last one. It
 *  is made smaller where much more lies in it than was asked for, and larger where nothing is left. */
import { KnownError } from "../errors.ts"
import type { RowsBeside } from "./datastore.ts"
import { channelTo, type EtcdAddress, range } from "./etcd-calls.ts"
import type { CallOptions } from "./etcd-channel.ts"
import { endOf, under, VALUES } from "./etcd-keys.ts"
import type { KeyValue, RangeAsked, Ranged } from "./etcd-messages.ts"
import { rewrite } from "./etcd-rewrite.ts"
import { BATCH_BYTES_MAX } from "./kine.ts"
import { AnswerLost } from "./lost-answer.ts"
import type { RowBatch, RowRange } from "./store.ts"

/** How many rows are asked for before it was seen what they weigh. */
const FIRST_ROWS = 128
/** So many of the largest values are less than etcd can say in one answer. */
const ROWS_MAX = 1_000
/** Where large rows come after small ones, an answer of more is left where it is, and an eighth as many are asked for. */
const ROWS_BYTES_MAX = 8 * BATCH_BYTES_MAX
/** Of a window with more batches than this a smaller one is made. */
const WINDOW_BATCHES_MAX = 10

/** Over a channel of its own. For passes, which read up to a revision that is reached, and so at the newest. */
export function openEtcdRows(address: EtcdAddress): RowsBeside {
  const channel = channelTo(address)
  const rows = new EtcdRows((asked, options) => range(channel, asked, options))
  return {
    rows: (query) => rows.rows(query),
    rewrite: (fence, replacements) => rewrite(channel, fence, replacements),
    [Symbol.asyncDispose]: async () => channel.close(),
  }
}

type Range = (asked: RangeAsked, options?: CallOptions) => Promise<Ranged>
type Batch = RangeAsked & { readonly limit: number }

export class EtcdRows {
  readonly #range: Range
  /** As many as a batch's bytes may be, going by the rows that were read last. */
  #rowsMax = FIRST_ROWS

  constructor(range: Range) {
    this.#range = range
  }

  /** Throws StoreCorrupt at a key that is no text: who reads on behind it would read it again. */
  async rows({ cursor, upTo, limit }: RowRange & { limit: number }): Promise<RowBatch> {
    for (let place = placeOf(cursor); ; ) {
      const { revision, last } = place
      const end = windowEnd(place)
      const asked = { ...under(VALUES, last), ...(end && { end }), limit, revision }
      const found =
        upTo === undefined ? await this.#batch(asked) : await this.#batchSince(upTo, asked)
      const isEnd = end === undefined && found.entries.length === 0
      if (isEnd) return { rows: [], cursor }
      const readAt = upTo === undefined && revision === 0 ? found.revision : revision
      place = { ...nextPlace(place, found), revision: readAt }
      const rows = found.entries.map(rowOf).filter((row) => row.revision <= (upTo ?? readAt))
      if (rows.length > 0) return { rows, cursor: cursorOf(place) }
    }
  }

  async countRows({ cursor }: RowRange): Promise<number> {
    const { last } = placeOf(cursor)
    return (await this.#range({ ...under(VALUES, last), countOnly: true })).count
  }

  /** As many rows as fit into a batch, by what the last ones weighed; at most twice as many as those. Where no answer comes an eighth of
   *  them is asked for in place of the same again. */
  async #batch(asked: Batch): Promise<Ranged> {
    for (;;) {
      const limit = Math.min(asked.limit, this.#rowsMax)
      const options = limit > 1 ? { isRepeatable: false, answerBytesMax: ROWS_BYTES_MAX } : {}
      try {
        const found = await this.#range({ ...asked, limit }, options)
        const { entries } = found
        const bytes = sizeBytes(entries)
        // The few at the end of a window say nothing of the next ones.
        if (entries.length < limit && bytes <= BATCH_BYTES_MAX) return found
        const fitting = Math.ceil((BATCH_BYTES_MAX * entries.length) / bytes)
        this.#rowsMax = Math.min(ROWS_MAX, fitting, Math.max(2 * limit, this.#rowsMax))
        return found
      } catch (error) {
        if (!(error instanceof AnswerLost) || limit === 1) throw error
        this.#rowsMax = Math.max(1, limit >>> 3)
      }
    }
  }

  /** With all that was there at `least`. Under a load of writes it waits for none of those that came later. */
  async #batchSince(least: number, asked: Batch): Promise<Ranged> {
    const found = await this.#batch({ ...asked, isSerializable: true })
    return found.revision < least ? this.#batch(asked) : found
  }
}

interface Place {
  /** To read at; 0: the newest. */
  readonly revision: number
  readonly last: string | undefined
  /** How many first characters of `last` the keys of the window have; few: the window is all that is left. */
  readonly shared: number
}

/** A cursor is `<revision>:<shared>:<last key>`. */
const cursorOf = ({ revision, shared, last }: Place): string => `${revision}:${shared}:${last}`

function placeOf(cursor: string): Place {
  const [, revision = 0, shared = 0, last] = /^(\d+):(\d+):(.*)$/s.exec(cursor) ?? []
  return { revision: Number(revision), shared: Math.min(Number(shared), last?.length ?? 0), last }
}

/** Undefined: that of all. Cut within a surrogate pair a window is empty, and is widened. */
const windowEnd = ({ last, shared }: Place): Buffer | undefined =>
  last === undefined || shared <= VALUES.length ? undefined : endOf(last.slice(0, shared))

/** Behind what was found, in a wider window where it was all of this one, in a narrower one where that is much. */
function nextPlace(place: Place, { entries, count }: Pick<Ranged, "entries" | "count">): Place {
  const [first, last] = [entries[0]?.key, entries.at(-1)?.key]
  if (first === undefined || last === undefined) return { ...place, shared: place.shared - 1 }
  if (last.includes("\uFFFD"))
    throw new KnownError("StoreCorrupt", `etcd: the key "${last}" is not UTF-8`)
  const isAll = entries.length === count
  if (isAll) return { ...place, last, shared: Math.max(0, place.shared - 1) }
  if (count <= WINDOW_BATCHES_MAX * entries.length) return { ...place, last }
  // Half the way: what the batch has in common may be all that one namespace has.
  const widest = Math.max(place.shared, VALUES.length)
  return { ...place, last, shared: Math.ceil((widest + sharedLength(first, last)) / 2) }
}

/** How many characters two keys begin with alike. */
function sharedLength(one: string, other: string): number {
  let length = 0
  while (length < one.length && one[length] === other[length]) length += 1
  return length
}

const rowOf = ({ key, value, modified: revision, isLeased }: KeyValue) => ({
  revision,
  key,
  value,
  previous: undefined,
  isLeased,
})

/** A value that is empty counts for something, too. */
const sizeBytes = (entries: readonly KeyValue[]): number =>
  entries.reduce((sum, { key, value }) => sum + key.length + value.length, 1)
