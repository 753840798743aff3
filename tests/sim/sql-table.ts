/** kine's table as a database server in READ COMMITTED keeps it: ids are given before they are committed, and commit in any
 *  order; what every write reads at its beginning may have been rewritten when it commits. Many connections, one table. */
import type { RecordName, StoredRecord } from "../../src/store/store.ts"

/** A row never changes; rewriting puts another in its place. */
export interface TableRow {
  readonly revision: number
  readonly key: string
  readonly created: boolean
  readonly deleted: boolean
  readonly createRevision: number
  readonly replaces: number
  readonly ttlSeconds: number
  readonly value: Buffer | undefined
  readonly previous: Buffer | undefined
}

export class SqlTable {
  /** Committed, in the order of their ids. */
  #rows: TableRow[] = []
  /** Given an id, not committed; each holds the shared lock on the fence. */
  readonly #inFlight = new Map<number, TableRow>()
  readonly #records = new Map<RecordName, StoredRecord>()
  #nextId = 1
  #fence: string | undefined
  #compacted = 0
  /** Counts commits of any kind. */
  changes = 0

  get rows(): readonly TableRow[] {
    return this.#rows
  }

  get fence(): string | undefined {
    return this.#fence
  }

  get compacted(): number {
    return this.#compacted
  }

  get newest(): number {
    return Math.max(this.#rows.at(-1)?.revision ?? 0, this.#compacted)
  }

  record(name: RecordName): StoredRecord | undefined {
    return this.#records.get(name)
  }

  /** What two states of the records have in common only if they are the same. */
  get recordsState(): string {
    const versions = [...this.#records].map(([name, { version }]) => `${name}:${version}`)
    return [...versions.toSorted(), this.#fence].join(" ")
  }

  get isAnyInFlight(): boolean {
    return this.#inFlight.size > 0
  }

  isInFlight({ after, upTo }: { after: number; upTo: number }): boolean {
    return [...this.#inFlight.keys()].some((id) => id > after && id <= upTo)
  }

  /** The newest row of a key that is committed. */
  head(key: string, revision = Number.POSITIVE_INFINITY): TableRow | undefined {
    return this.#rows.findLast((row) => row.key === key && row.revision <= revision)
  }

  /** Takes an id; undefined where the unique index on (name, prev_revision) is in the way. */
  begin(row: Omit<TableRow, "revision">): TableRow | undefined {
    const isTaken = (other: TableRow) => other.key === row.key && other.replaces === row.replaces
    if (this.#rows.some(isTaken) || [...this.#inFlight.values()].some(isTaken)) return undefined
    const begun = { revision: this.#nextId++, ...row }
    this.#inFlight.set(begun.revision, begun)
    return begun
  }

  rollBack({ revision }: TableRow): void {
    this.#inFlight.delete(revision)
  }

  commit(row: TableRow): void {
    this.#inFlight.delete(row.revision)
    const at = this.#rows.findLastIndex(({ revision }) => revision < row.revision) + 1
    this.#rows.splice(at, 0, row)
    this.#nextId = Math.max(this.#nextId, row.revision + 1)
    this.changes += 1
  }

  put(
    records: readonly { name: RecordName; version: string; value: Uint8Array }[],
    fence: string | undefined,
  ): void {
    for (const { name, version, value } of records)
      this.#records.set(name, { version, value: Buffer.from(value) })
    if (fence !== undefined) this.#fence = fence
    this.changes += 1
  }

  /** `change` returns what stands in the place of a row: another, itself, or nothing. */
  changeRows(change: (row: TableRow) => TableRow | undefined): void {
    this.#rows = this.#rows.flatMap((row) => change(row) ?? [])
    this.changes += 1
  }

  /** Forgets what replaced rows and tombstones hold up to `revision`, as kine does. */
  compact(revision: number): void {
    const [from, newest] = [this.#compacted, this.newest]
    const replaced = new Set(
      this.#rows
        .filter((row) => row.revision > from && row.revision <= revision)
        .map((row) => row.replaces),
    )
    const isTombstone = (row: TableRow) =>
      row.deleted && row.revision >= from && row.revision <= revision && row.revision < newest
    this.changeRows((row) => (replaced.has(row.revision) || isTombstone(row) ? undefined : row))
    this.#compacted = revision
  }

  /** A copy of all that is committed, to be put back by calling what is returned: what is in flight then is gone. */
  snapshot(): () => void {
    const [rows, records] = [this.#rows.slice(), new Map(this.#records)]
    const [nextId, fence, compacted] = [this.newest + 1, this.#fence, this.#compacted]
    return () => {
      this.#rows = rows.slice()
      this.#inFlight.clear()
      this.#records.clear()
      for (const [name, record] of records) this.#records.set(name, record)
      this.#nextId = nextId
      this.#fence = fence
      this.#compacted = compacted
      this.changes += 1
    }
  }
}
