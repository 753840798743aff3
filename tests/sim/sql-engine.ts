/** One connection to a table in memory, as the real store on a database server (src/store/sql-store.ts) asks its engine. A
 *  statement is one transaction; one that writes takes its id in one step and commits in the next. */
import {
  liveEntry,
  NEWEST,
  rowBatch,
  toChange,
  type Head,
  type Leased,
  type Span,
} from "../../src/store/kine.ts"
import type { EngineWrite } from "../../src/store/engine-write.ts"
import { NotDone, type WrittenRow } from "../../src/store/lost-answer.ts"
import type {
  EngineStep,
  KeyRange,
  LogPage,
  SqlEngine,
  Standing,
} from "../../src/store/sql-engine.ts"
import type {
  Entry,
  RecordName,
  Replacement,
  RowBatch,
  StoredRecord,
  WriteResult,
} from "../../src/store/store.ts"
import type { Stretch } from "../../src/store/watch-hub.ts"
import { type Ask, atOnce, type Steps } from "./ask.ts"
import { COMPARES_ALL, type Compares } from "./compares.ts"
import type { SqlTable, TableRow } from "./sql-table.ts"

const LOG_ROWS = 500

export class MemoryEngine implements SqlEngine {
  readonly where = "the table in memory"
  readonly #table: SqlTable
  readonly #ask: Ask
  readonly #rowsMax: number
  readonly #compares: Compares

  /** `rowsMax`: in one batch, as if they were large. */
  constructor(
    table: SqlTable,
    ask: Ask,
    { rowsMax = Number.POSITIVE_INFINITY, compares = COMPARES_ALL } = {},
  ) {
    this.#table = table
    this.#ask = ask
    this.#rowsMax = rowsMax
    this.#compares = compares
  }

  standing(): Promise<Standing> {
    return this.#read("standing", () => this.#standing)
  }

  head(key: string, revision: number): Promise<Standing & { head: Head | undefined }> {
    return this.#read(`read ${key}`, () => {
      const head = this.#table.head(key, revision)
      return { ...this.#standing, head: head && headOf(head) }
    })
  }

  list(
    range: KeyRange,
    { revision, limit }: { revision: number; limit: number },
  ): Promise<Standing & { entries: Entry[] }> {
    return this.#read(`list ${range.prefix}`, () => ({
      ...this.#standing,
      entries: this.#live(range, revision).slice(0, limit),
    }))
  }

  count(range: KeyRange, revision: number): Promise<number> {
    return this.#read(`count ${range.prefix}`, () => this.#live(range, revision).length)
  }

  changes(prefix: string, span: Span): Promise<Stretch> {
    return this.#read(`changes of ${prefix}`, () => {
      const rows = this.#within(span).filter(({ key }) => key.startsWith(prefix))
      const { compacted } = this.#table
      return { changes: rows.flatMap((row) => toChange(row) ?? []), compacted, upTo: span.upTo }
    })
  }

  rows(range: Span & { limit: number }): Promise<RowBatch> {
    return this.#read(`rows above ${range.after}`, () => {
      const limit = Math.min(range.limit, this.#rowsMax)
      const rows = this.#within(range)
        .slice(0, limit)
        .map(({ revision, key, value, previous }) => ({ revision, key, value, previous }))
      return rowBatch({ ...range, limit }, rows)
    })
  }

  countRows(span: Span): Promise<number> {
    return this.#read("count rows", () => this.#within(span).length)
  }

  leased(span: Span): Promise<Leased[]> {
    return this.#read("find what expires", () =>
      this.#within(span).filter(({ ttlSeconds, deleted }) => ttlSeconds > 0 && !deleted),
    )
  }

  write(write: EngineWrite): Promise<WriteResult> {
    const { kind, key, expected } = write
    return this.#ask(`${kind} ${key} at ${expected}`, writing(this.#table, write))
  }

  rowsOf(key: string, after: number): Promise<readonly WrittenRow[]> {
    return this.#read(`look for ${key}`, () =>
      this.#table.rows.filter((row) => row.key === key && row.revision > after),
    )
  }

  step(step: EngineStep): Promise<{ revision: number } | "conflict"> {
    const names = step.put.map(({ name }) => name).join(" and ")
    const what = `put ${names || "nothing"}${step.fence?.next === undefined ? "" : ", move the fence"}`
    return this.#ask(what, stepping(this.#table, step))
  }

  record(name: RecordName): Promise<StoredRecord | undefined> {
    return this.#read(`read the ${name}`, () => this.#table.record(name))
  }

  fence(): Promise<string | undefined> {
    return this.#read("read the fence", () => this.#table.fence)
  }

  rewrite(fence: string, replacements: readonly Replacement[]): Promise<number | "fenced"> {
    const what = `rewrite ${replacements.length}`
    return this.#read(what, () => {
      if (this.#compares.fence && this.#table.fence !== fence) return "fenced"
      return rewritten(this.#table, replacements, this.#compares)
    })
  }

  /** Under the exclusive lock: of two writers that create one key again, one could else find its tombstone and the other not. */
  compact({ after, upTo }: Span): Promise<void> {
    return this.#read(`compact to ${upTo}`, () => {
      if (this.#table.isAnyInFlight) throw new NotDone("the lock was not given in time")
      if (this.#table.compacted === after) this.#table.compact(upTo)
    })
  }

  scrub(): Promise<void> {
    return this.#read("scrub", () => {})
  }

  log(after: number): Promise<LogPage> {
    return this.#read(`log after ${after}`, () => {
      const found = this.#within({ after, upTo: NEWEST })
      const rows = found.slice(0, LOG_ROWS).map((row) => ({
        revision: row.revision,
        name: row.key,
        ttlSeconds: row.ttlSeconds,
        change: toChange(row),
      }))
      const more = found.length > LOG_ROWS
      const standsOn = this.#table.rows.find(({ revision }) => revision === after)?.key
      return { rows, more, ...this.#standing, records: this.#table.recordsState, standsOn }
    })
  }

  holes(after: number): Promise<Span[]> {
    return this.#read(`holes after ${after}`, () => holesOf(this.#table, after))
  }

  fill(span: Span): Promise<void> {
    return this.#ask(`fill ${span.after + 1} to ${span.upTo}`, filling(this.#table, span))
  }

  leap(id: number): Promise<void> {
    return this.#read(`leap to ${id}`, () => {
      if (this.#table.isAnyInFlight) throw new NotDone("the lock was not given in time")
      if (this.#table.rows.every(({ revision }) => revision !== id)) this.#table.commit(gap(id))
    })
  }

  /** Nobody is told: every server looks each second, and as it writes. */
  announce(): void {}
  onAnnounced(): void {}
  async close(): Promise<void> {}

  #read<T>(what: string, read: () => T): Promise<T> {
    return this.#ask(what, atOnce(read))
  }

  get #standing(): Standing {
    const { newest, compacted } = this.#table
    return { newest, compacted }
  }

  #within({ after, upTo }: Span): TableRow[] {
    return this.#table.rows.filter(({ revision }) => revision > after && revision <= upTo)
  }

  #live({ prefix, after = "" }: KeyRange, revision: number): Entry[] {
    const newest = new Map<string, TableRow>()
    for (const row of this.#table.rows) {
      if (row.revision > revision) break
      if (row.key.startsWith(prefix) && row.key > after) newest.set(row.key, row)
    }
    const live = [...newest.values()].flatMap((row) => liveEntry(headOf(row)) ?? [])
    return live.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  }
}

const headOf = (row: TableRow): Head => ({ entry: entryOf(row), deleted: row.deleted })

const entryOf = (row: TableRow): Entry => ({
  key: row.key,
  value: row.value ?? Buffer.alloc(0),
  revision: row.revision,
  createRevision: row.created ? row.revision : row.createRevision,
})

function* writing(table: SqlTable, write: EngineWrite): Steps<WriteResult> {
  const { kind, key, fence, expected, value, ttlSeconds } = write
  if (fence !== undefined && table.fence !== fence) return { outcome: "fenced" }
  const head = table.head(key)
  const current = head && !head.deleted ? entryOf(head) : undefined
  if (kind === "create" ? current !== undefined : current?.revision !== expected)
    return { outcome: "conflict", current }
  const begun = table.begin({
    key,
    created: kind === "create",
    deleted: kind === "delete",
    createRevision: kind === "update" ? (current?.createRevision ?? 0) : 0,
    replaces: head?.revision ?? 0,
    ttlSeconds,
    value: value ?? undefined,
    previous: head?.value,
  })
  if (begun === undefined) throw new NotDone("another writer's row stands there")
  try {
    yield
    table.commit(begun)
  } finally {
    table.rollBack(begun)
  }
  return { outcome: "done", revision: begun.revision }
}

/** Under the exclusive lock, which is not given while anybody writes. */
function* stepping(table: SqlTable, step: EngineStep): Steps<{ revision: number } | "conflict"> {
  yield
  if (table.isAnyInFlight) throw new NotDone("the lock was not given in time")
  const isAt = ({ name, version }: EngineStep["compare"][number]) =>
    (table.record(name)?.version ?? null) === version
  const isUnderFence = step.fence === undefined || (table.fence ?? null) === step.fence.expected
  if (!step.compare.every(isAt) || !isUnderFence) return "conflict"
  table.put(step.put, step.fence?.next)
  return { revision: table.newest }
}

function rewritten(
  table: SqlTable,
  replacements: readonly Replacement[],
  { bytes }: Compares,
): number {
  let count = 0
  const of = Map.groupBy(replacements, ({ revision }) => revision)
  table.changeRows((row) =>
    (of.get(row.revision) ?? []).reduce((now, { column, expected, replacement }) => {
      if (bytes && now[column]?.equals(expected) !== true) return now
      count += 1
      return { ...now, [column]: Buffer.from(replacement) }
    }, row),
  )
  return count
}

function holesOf(table: SqlTable, after: number): Span[] {
  const spans: Span[] = []
  let before = after
  for (const { revision } of table.rows) {
    if (revision <= after) continue
    if (revision > before + 1) spans.push({ after: before, upTo: revision - 1 })
    before = revision
  }
  return spans
}

function* filling(table: SqlTable, span: Span): Steps<void> {
  while (table.isInFlight(span)) yield () => !table.isInFlight(span)
  const there = new Set(table.rows.map(({ revision }) => revision))
  for (let revision = span.after + 1; revision <= span.upTo; revision++)
    if (!there.has(revision)) table.commit(gap(revision))
}

const gap = (revision: number): TableRow => ({
  revision,
  key: `gap-${revision}`,
  created: false,
  deleted: true,
  createRevision: 0,
  replaces: 0,
  ttlSeconds: 0,
  value: undefined,
  previous: undefined,
})
