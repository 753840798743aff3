/** Reading every value of etcd, batch after batch in the order of the keys, at one revision.
 *
 *  etcd looks at each key of a range, however few of them are asked for: read in pages to its end, a range costs the square of
 *  what is in it. So a batch is asked of a window, the keys that have their first characters in common with the last one. It
 *  is made smaller where much more lies in it than was asked for, and larger where nothing is left. */
import type { CallOptions } from "./etcd-channel.ts"
import { endOf, under, VALUES } from "./etcd-keys.ts"
import type { KeyValue, RangeAsked, Ranged } from "./etcd-messages.ts"
import { BATCH_BYTES_MAX } from "./kine.ts"
import { AnswerLost } from "./lost-answer.ts"
import type { RowBatch, RowRange } from "./store.ts"

/** How many rows are asked for before it was seen what they weigh. */
const FIRST_ROWS = 128
/** So many of the largest values are less than etcd can say in one answer. */
const ROWS_MAX = 1_000
/** Where large rows come after small ones, an answer of more is left where it is, and half as many are asked for. */
const ROWS_BYTES_MAX = 8 * BATCH_BYTES_MAX
/** Of a window with more batches than this a smaller one is made. */
const WINDOW_BATCHES_MAX = 10

type Range = (asked: RangeAsked, options?: CallOptions) => Promise<Ranged>
type Batch = RangeAsked & { readonly limit: number }

export class EtcdRows {
  readonly #range: Range
  /** As many as a batch's bytes may be, going by the rows that were read last. */
  #rowsMax = FIRST_ROWS

  constructor(range: Range) {
    this.#range = range
  }

  async rows({ cursor, upTo, limit }: RowRange & { limit: number }): Promise<RowBatch> {
    let { revision, shared, last } = placeOf(cursor)
    for (;;) {
      const all = under(VALUES, last)
      const window = windowOf(last, shared)
      const asked = { ...all, ...window, limit, revision }
      const found =
        upTo === undefined ? await this.#batch(asked) : await this.#batchSince(upTo, asked)
      if (upTo === undefined && revision === 0) revision = found.revision
      const { entries, count } = found
      const [first, newest] = [entries[0]?.key, entries.at(-1)?.key]
      if (newest === undefined && window === undefined) return { rows: [], cursor }
      if (window !== undefined && entries.length === count) shared -= 1
      else if (count > WINDOW_BATCHES_MAX * entries.length) shared = sharedLength(first, newest)
      last = newest ?? last
      const rows = entries.map(rowOf).filter((row) => row.revision <= (upTo ?? revision))
      if (rows.length > 0) return { rows, cursor: `${revision}:${shared}:${last}` }
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
        if (found.entries.length === 0) return found
        const fitting = Math.ceil(BATCH_BYTES_MAX / averageBytes(found.entries))
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
  /** Of the last key, how many of its first characters the window's keys have. */
  readonly shared: number
  readonly last: string | undefined
}

/** A cursor is `<revision>:<shared>:<last key>`. */
function placeOf(cursor: string): Place {
  const [, revision, shared, last] = /^(\d+):(\d+):(.*)$/s.exec(cursor) ?? []
  return { revision: Number(revision ?? 0), shared: Number(shared ?? 0), last }
}

/** Undefined: up to the end. */
const windowOf = (last: string | undefined, shared: number): { end: Buffer } | undefined =>
  last === undefined || shared <= VALUES.length ? undefined : { end: endOf(last.slice(0, shared)) }

/** How many characters two keys begin with alike. */
function sharedLength(one = "", other = ""): number {
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

/** Of one entry at least. */
const averageBytes = (entries: readonly KeyValue[]): number =>
  1 + entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0) / entries.length
