/** kine's table on a database server, as far as the servers do alike: which statements there are, what they are given,
 *  and how their answers read. An engine has the statements in its own words, and what they do differently. */
import { bug, KnownError } from "../errors.ts"
import {
  BATCH_BYTES_MAX,
  type Head,
  keysEnd,
  type Leased,
  rowBatch,
  type Span,
  toChange,
} from "./kine.ts"
import type { EngineWrite } from "./engine-write.ts"
import type { WrittenRow } from "./lost-answer.ts"
import type {
  EngineStep,
  KeyRange,
  LogPage,
  LogRow,
  RowsAsked,
  SqlEngine,
  Standing,
} from "./sql-engine.ts"
import type {
  Change,
  Entry,
  RecordName,
  Replacement,
  RowBatch,
  StoredRecord,
  WriteResult,
} from "./store.ts"
import type { Stretch } from "./watch-hub.ts"

export const LOG_ROWS = 500

/** A row, column by column. */
export type Columns = readonly unknown[]

/** Parameters are numbered $1, $2, … An entry is `id, name, born, value`, a change is `id, name, created, deleted,
 *  value, old_value`. What stands before "/" is in every row, and what follows is NULL where there is nothing. */
export interface Statements {
  /** newest, compacted */
  readonly standing: string
  /** (key, revision): newest, compacted, entry, deleted; no row where there is no such key */
  readonly head: string
  /** (prefix, its end, after, revision, limit): newest, compacted / entry */
  readonly list: string
  /** (prefix, its end, after, revision): how many */
  readonly count: string
  /** (after, upTo, prefix, its end): compacted / change */
  readonly changes: string
  /** (after, upTo, limit): id, name, value, old_value */
  readonly rows: string
  /** (after, upTo, limit, bytes): the same of at most so many bytes of each value */
  readonly heads: string
  /** (after, upTo): how many */
  readonly countRows: string
  /** (after, upTo): name, id, lease */
  readonly leased: string
  /** (key, after): id, created, deleted, prev_revision, value */
  readonly rowsOf: string
  /** (after): newest, compacted, the records' state, the name of the row at `after` / change, lease */
  readonly log: string
  /** (after): the id before a hole, and the last one in it */
  readonly holes: string
  /** (kind, key, fence, expected, ttl, value): outcome, revision, and the live entry that stood against it: revision,
   *  create revision, value */
  readonly write: string
  /** (name): value, version */
  readonly record: string
  /** fence */
  readonly fence: string
}

export abstract class SqlTable implements SqlEngine {
  abstract readonly where: string
  readonly #statements: Statements
  readonly #logRowsMax: number

  constructor(statements: Statements, logRowsMax = LOG_ROWS) {
    this.#statements = statements
    this.#logRowsMax = logRowsMax
  }

  /** One round trip, one transaction. */
  protected abstract query(text: string, values: readonly unknown[]): Promise<readonly Columns[]>
  abstract step(step: EngineStep): Promise<{ revision: number } | "conflict">
  abstract rewrite(fence: string, replacements: readonly Replacement[]): Promise<number | "fenced">
  abstract compact(span: Span): Promise<void>
  abstract scrub(of?: "records"): Promise<void>
  abstract fill(span: Span): Promise<void>
  abstract leap(id: number): Promise<void>
  abstract announce(): void
  abstract onAnnounced(wake: () => void): void
  abstract close(): Promise<void>

  async standing(): Promise<Standing> {
    return standingOf(firstRow(await this.#ask("standing")))
  }

  async head(key: string, revision: number): Promise<Standing & { head: Head | undefined }> {
    const [row] = await this.#ask("head", key, revision)
    // Up to a revision that is settled no row can have come since.
    if (row === undefined) return { ...(await this.standing()), head: undefined }
    const found = row.slice(2)
    return { ...standingOf(row), head: { entry: toEntry(found), deleted: found[4] === 1 } }
  }

  async list(
    range: KeyRange,
    { revision, limit }: { revision: number; limit: number },
  ): Promise<Standing & { entries: Entry[] }> {
    const rows = await this.#ask("list", ...rangeValues(range), revision, limit)
    return { ...standingOf(firstRow(rows)), entries: joined(rows, 2).map(toEntry) }
  }

  async count(range: KeyRange, revision: number): Promise<number> {
    return integer(firstRow(await this.#ask("count", ...rangeValues(range), revision))[0])
  }

  async changes(prefix: string, { after, upTo }: Span): Promise<Stretch> {
    const rows = await this.#ask("changes", after, upTo, prefix, keysEnd(prefix) ?? null)
    const compacted = integer(firstRow(rows)[0] ?? 0)
    const found = joined(rows, 1)
    const changes = found.flatMap((row) => readChange(row) ?? [])
    return { changes, compacted, upTo: isCutShort(found) ? integer(found.at(-1)?.[0]) : upTo }
  }

  async rows(asked: RowsAsked): Promise<RowBatch> {
    const { after, upTo, limit, headBytes } = asked
    const found = await (headBytes === undefined
      ? this.#ask("rows", after, upTo, limit)
      : this.#ask("heads", after, upTo, limit, headBytes))
    const rows = found.map(([id, name, value, old]) => ({
      revision: integer(id),
      key: text(name),
      value: bytes(value),
      previous: bytes(old),
    }))
    return rowBatch(asked, rows)
  }

  async countRows({ after, upTo }: Span): Promise<number> {
    return integer(firstRow(await this.#ask("countRows", after, upTo))[0])
  }

  async leased({ after, upTo }: Span): Promise<Leased[]> {
    const rows = await this.#ask("leased", after, upTo)
    return rows.map(([name, id, lease]) => ({
      key: text(name),
      revision: integer(id),
      ttlSeconds: integer(lease),
    }))
  }

  async write(write: EngineWrite): Promise<WriteResult> {
    const { kind, key, fence = null, expected, ttlSeconds, value } = write
    const rows = await this.#ask("write", kind, key, fence, expected, ttlSeconds, value)
    const [outcome, revision, live, born, liveValue] = firstRow(rows)
    if (outcome === "fenced") return { outcome }
    if (outcome === "done") return { outcome, revision: integer(revision) }
    const current = live === null ? undefined : toEntry([live, key, born, liveValue])
    return { outcome: "conflict", current }
  }

  async rowsOf(key: string, after: number): Promise<WrittenRow[]> {
    const rows = await this.#ask("rowsOf", key, after)
    return rows.map(([id, created, deleted, replaces, value]) => ({
      revision: integer(id),
      created: created === 1,
      deleted: deleted === 1,
      replaces: integer(replaces),
      value: bytes(value),
    }))
  }

  async record(name: RecordName): Promise<StoredRecord | undefined> {
    const [row] = await this.#ask("record", name)
    if (row === undefined) return undefined
    const [value, version] = row
    return { value: bytes(value) ?? bug(`record ${name} is no bytes`), version: text(version) }
  }

  async fence(): Promise<string | undefined> {
    const [row] = await this.#ask("fence")
    return row && text(row[0])
  }

  async log(after: number): Promise<LogPage> {
    const rows = await this.queryLog(this.#statements.log, [after])
    const [newest, compacted, records, standsOn] = firstRow(rows)
    const found = joined(rows, 4)
    return {
      rows: found.map(toLogRow),
      more: found.length === this.#logRowsMax || isCutShort(found),
      ...standingOf([newest, compacted]),
      records: text(records),
      standsOn: standsOn === null ? undefined : text(standsOn),
    }
  }

  async holes(after: number): Promise<Span[]> {
    const rows = await this.#ask("holes", after)
    return rows.map(([before, last]) => ({ after: integer(before), upTo: integer(last) }))
  }

  protected queryLog(text: string, values: readonly unknown[]): Promise<readonly Columns[]> {
    return this.query(text, values)
  }

  #ask(name: keyof Statements, ...values: readonly unknown[]): Promise<readonly Columns[]> {
    return this.query(this.#statements[name], values)
  }
}

export const firstRow = ([row]: readonly Columns[]): Columns =>
  row ?? bug("a statement without a row")

/** Drivers give large integers as text. */
export function integer(value: unknown): number {
  const number = typeof value === "string" ? Number(value) : value
  if (typeof number !== "number" || Number.isNaN(number)) return bug("a column is no integer")
  if (Number.isSafeInteger(number)) return number
  throw new KnownError("RevisionTooLarge", `revision ${String(value)} is not below 2^53`)
}

const text = (value: unknown): string =>
  typeof value === "string" ? value : bug("a column is no text")
const bytes = (value: unknown): Buffer | undefined => (Buffer.isBuffer(value) ? value : undefined)

const rangeValues = ({ prefix, after }: KeyRange) => [
  prefix,
  keysEnd(prefix) ?? null,
  after ?? null,
]

/** The newest row may have been compacted. */
function standingOf([newest, compacted]: Columns): Standing {
  const revision = integer(compacted ?? 0)
  return { newest: Math.max(integer(newest ?? 0), revision), compacted: revision }
}

/** What was joined to the first columns, which alone are there where nothing was found. */
const joined = (rows: readonly Columns[], first: number): Columns[] =>
  rows.map((row) => row.slice(first)).filter(([id]) => id !== null)

const toEntry = ([id, name, born, value]: Columns): Entry => ({
  key: text(name),
  value: bytes(value) ?? Buffer.alloc(0),
  revision: integer(id),
  createRevision: integer(born),
})

const readChange = ([id, name, created, deleted, value, old]: Columns): Change | undefined =>
  toChange({
    revision: integer(id),
    key: text(name),
    created: created === 1,
    deleted: deleted === 1,
    value: bytes(value),
    previous: bytes(old),
  })

const toLogRow = (row: Columns): LogRow => ({
  revision: integer(row[0]),
  name: text(row[1]),
  change: readChange(row),
  ttlSeconds: integer(row[6] ?? 0),
})

/** Whether rows were left out, for their number or their size. */
const isCutShort = (rows: readonly Columns[]): boolean =>
  rows.length === LOG_ROWS ||
  rows.reduce((sum, row) => sum + (bytes(row[4])?.length ?? 0) + (bytes(row[5])?.length ?? 0), 0) >
    BATCH_BYTES_MAX
