/** How many stored byte strings (values and old values, of every row) are under which key, and where they lie. One count serves
 *  the proof that a key can be retired, `verify`, `keys` and `status -o wide`. A census of nothing under a key is the proof that
 *  nothing needs it. */
import { setImmediate as turn } from "node:timers/promises"
import { isKnown, KnownError } from "../errors.ts"
import { claimOf, hasPrefix, isEncrypted } from "../format/value.ts"
import { writingKey } from "../keyring/keyring.ts"
import { namespaceOfKey } from "../registry/resource.ts"
import { openObject, type View } from "../registry/view.ts"
import type { Unreadable } from "../rotation/operation.ts"
import type { Counts } from "../rotation/retire.ts"
import type { RowBatch, RowQuery, StoreReader } from "../store/store.ts"

export const BATCH_ROWS = 500
/** All are counted, so many are named: the memory of a census does not grow with the datastore. */
export const NAMED_MAX = 100

export interface Tally {
  readonly stored: number
  /** Storage keys, each once, of those that came first. */
  readonly names: readonly string[]
}

export interface NamespaceTally {
  readonly stored: number
  /** Of these under the key that writes, and under no other. */
  readonly current: number
}

/** What is to be encrypted, and what is although it need not be. Plaintext of other kinds does not count. */
export interface Census {
  /** Everything committed up to it was looked at. */
  readonly revision: number
  readonly stored: number
  /** By name, every key that was looked for; a byte string counts under each whose prefix fits, for a name may contain ':'. */
  readonly keys: ReadonlyMap<string, Tally>
  /** By what they say of themselves: under a key that the keyring does not hold. */
  readonly foreign: ReadonlyMap<string, Tally>
  /** Plaintext where the kind is an encrypted one. */
  readonly unencrypted: Tally
  /** What was tried and did not open; of a census that opens nothing: empty. */
  readonly unreadable: { readonly stored: number; readonly names: readonly Unreadable[] }
  /** By name; "" for what lies in none. */
  readonly namespaces: ReadonlyMap<string, NamespaceTally>
}

export interface CensusOptions {
  readonly signal?: AbortSignal
  /** Open each byte string too; else what it says of itself is believed. */
  readonly opens?: boolean
  /** Looked for besides the keyring's. */
  readonly also?: readonly KnownKey[]
}

interface PacedOptions extends CensusOptions {
  /** Of the next batch, at most. */
  readonly limit?: () => number
  /** Called after each batch of rows. */
  readonly pause?: () => Promise<void>
}

export interface KnownKey {
  readonly name: string
  readonly prefix: Buffer
}

export const knownKeys = (view: View): KnownKey[] =>
  view.record.keyring.keys.map(({ name }) => ({ name, prefix: view.provider(name).prefix }))

/** The names of those whose prefix fits. */
export const namesOver = (known: readonly KnownKey[], stored: Buffer): string[] =>
  known.filter(({ prefix }) => hasPrefix(stored, prefix)).map(({ name }) => name)

/** What a byte string under none of them says of itself; none: nothing that can be read. */
export function foreignName(stored: Buffer): string {
  const claim = claimOf(stored)
  return claim === undefined ? UNKNOWN : `${claim.provider} ${claim.name}`
}

/** A foreign key whose name cannot be read, or one of too many. */
export const UNKNOWN = "unknown"

/** Rows of a batch, those left out too; 0: the end. */
export const rowsIn = ({ rows, leftOut = 0 }: RowBatch): number => rows.length + leftOut

/** Every stored row of a range, giving way to requests between batches. Where a batch says that it is the last one it ends, for rows
 *  may come faster than they are read. */
export async function* allRows(
  store: Pick<StoreReader, "rows">,
  range: Omit<RowQuery, "limit">,
  { signal, limit = () => BATCH_ROWS }: { signal?: AbortSignal; limit?: () => number } = {},
): AsyncGenerator<RowBatch> {
  for (let { cursor } = range; ; ) {
    signal?.throwIfAborted()
    const batch = await store.rows({ ...range, cursor, limit: limit() })
    if (rowsIn(batch) === 0) return
    yield batch
    if (batch.isLast) return
    cursor = batch.cursor
    await turn()
  }
}

/** More than this means that history is compacted faster than it can be read. */
const ATTEMPTS_MAX = 3

/** Reads anew where a compaction overtook the revision that was read at. */
export async function uncompacted<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++)
    try {
      return await read()
    } catch (error) {
      if (!isKnown(error, "Compacted")) throw error
      if (attempt < ATTEMPTS_MAX) continue
      const seen = "history is compacted faster than it can be read, as beside a rotation of much"
      throw new KnownError("StoreUnavailable", `${seen}; try again when that is over`, {
        cause: error,
      })
    }
}

/** Every row: values, old values, history. Batch after batch, and not of one moment, it misses nothing under a key that writes no
 *  more, while nobody rewrites or behind a barrier: such bytes are copied into later rows alone (an old value is that of the row
 *  before), each with the row that it was copied from counted before or still to come, and what writes under the fence writes under
 *  the new key. */
export const census = (
  store: Pick<StoreReader, "rows" | "revision">,
  view: View,
  options: PacedOptions = {},
): Promise<Census> => uncompacted(() => countRows(store, view, options))

async function countRows(
  store: Pick<StoreReader, "rows" | "revision">,
  view: View,
  { signal, limit, opens = false, also, pause }: PacedOptions,
): Promise<Census> {
  const revision = await store.revision()
  const count = new Count(view, also)
  const range = { cursor: "", ...(opens ? {} : count.heads) }
  const how = { ...(signal && { signal }), ...(limit && { limit }) }
  for await (const { rows } of allRows(store, range, how)) {
    for (const { key, value, previous } of rows)
      for (const stored of [value, previous])
        if (stored !== undefined && stored.length > 0 && count.add(key, stored) && opens)
          count.open(key, stored)
    await pause?.()
  }
  return { revision, ...count }
}

/** What is live under `prefix` at one revision: without it, at the newest. */
export async function liveCensus(
  store: Pick<StoreReader, "list">,
  view: View,
  { prefix, revision, signal, also }: CensusOptions & { prefix: string; revision?: number },
): Promise<Census> {
  const count = new Count(view, also)
  for (let [at, after] = [revision, prefix]; ; await turn()) {
    signal?.throwIfAborted()
    const asked = { prefix, after, limit: BATCH_ROWS }
    const page = await store.list(at === undefined ? asked : { ...asked, revision: at })
    for (const { key, value } of page.entries) count.add(key, value)
    const last = page.entries.at(-1)
    if (last === undefined || page.entries.length < BATCH_ROWS)
      return { revision: page.revision, ...count }
    at = page.revision
    after = last.key
  }
}

/** What a proof takes from it. */
export const countsOf = ({ keys }: Census): Counts =>
  new Map(Array.from(keys, ([name, { stored }]) => [name, stored]))

/** The name of a key that is not known stands in it whole, unless it is longer than any that Kubernetes or K3s makes. */
const HEAD_BYTES_MIN = 512

/** More than anybody can tell apart; the names in stored bytes are anybody's. */
const FOREIGN_MAX = 100

class Count implements Omit<Census, "revision"> {
  stored = 0
  readonly keys: Map<string, Tallied>
  readonly foreign = new Map<string, Tallied>()
  readonly unencrypted = new Tallied()
  readonly unreadable = { stored: 0, names: [] as Unreadable[] }
  readonly namespaces = new Map<string, { stored: number; current: number }>()
  readonly #view: View
  readonly #known: readonly KnownKey[]
  readonly #current: Tallied | undefined

  constructor(view: View, also: readonly KnownKey[] = []) {
    this.#view = view
    this.#known = [...knownKeys(view), ...also]
    this.keys = new Map(this.#known.map(({ name }) => [name, new Tallied()]))
    this.#current = this.keys.get(writingKey(view.record.keyring)?.name ?? "")
  }

  /** Of a stored byte string: enough to tell under which key it is. */
  get heads(): Pick<RowQuery, "headBytes" | "common"> {
    const headBytes = Math.max(HEAD_BYTES_MIN, ...this.#known.map(({ prefix }) => prefix.length))
    const writer = writingKey(this.#view.record.keyring)?.name
    const common = this.#known.find(({ name }) => name === writer)?.prefix
    const begunSo = this.#known.filter(({ prefix }) => common && hasPrefix(prefix, common))
    return { headBytes, ...(common && begunSo.length === 1 && { common }) }
  }

  /** False for what does not count. */
  add(key: string, stored: Buffer): boolean {
    const found = isEncrypted(stored) ? this.#sealing(stored) : this.#plain(key)
    if (found === undefined) return false
    for (const tally of found) tally.add(key)
    this.stored += 1
    const namespace = namespaceOfKey(key)
    const total = this.namespaces.get(namespace) ?? { stored: 0, current: 0 }
    total.stored += 1
    if (found.length === 1 && found[0] === this.#current) total.current += 1
    this.namespaces.set(namespace, total)
    return true
  }

  open(key: string, stored: Buffer): void {
    try {
      openObject(this.#view, key, stored)
    } catch (error) {
      if (!isKnown(error)) throw error
      const { names } = this.unreadable
      this.unreadable.stored += 1
      if (names.length < NAMED_MAX) names.push({ key, why: error.message })
    }
  }

  #plain(key: string): Tallied[] | undefined {
    return this.#view.covers(key) ? [this.unencrypted] : undefined
  }

  #sealing(stored: Buffer): Tallied[] {
    const names = namesOver(this.#known, stored)
    return names.length === 0
      ? [this.#foreign(stored)]
      : names.flatMap((n) => this.keys.get(n) ?? [])
  }

  #foreign(stored: Buffer): Tallied {
    const seen = foreignName(stored)
    const name = this.foreign.has(seen) || this.foreign.size < FOREIGN_MAX ? seen : UNKNOWN
    const tally = this.foreign.get(name) ?? new Tallied()
    this.foreign.set(name, tally)
    return tally
  }
}

class Tallied implements Tally {
  stored = 0
  readonly #names = new Set<string>()

  get names(): readonly string[] {
    return [...this.#names]
  }

  add(key: string): void {
    this.stored += 1
    if (this.#names.size < NAMED_MAX) this.#names.add(key)
  }
}
