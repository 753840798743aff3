/** What a store on a database server (sql-store.ts) asks of its engine: one method a statement, each one round trip
 *  and one transaction. Every method rejects with a KnownError for what is foreseen; NotDone and
 *  AnswerLost (lost-answer.ts) are the two that the store acts on. */
import type { Head, Leased, Span } from "./kine.ts"
import type { EngineWrite } from "./engine-write.ts"
import type { WrittenRow } from "./lost-answer.ts"
import type {
  Change,
  Entry,
  RecordName,
  RecordStep,
  Replacement,
  RowBatch,
  StoredRecord,
  WriteResult,
} from "./store.ts"
import type { Stretch } from "./watch-hub.ts"

/** Keys that begin with `prefix` and are above `after`. */
export interface KeyRange {
  readonly prefix: string
  readonly after?: string | undefined
}

/** Where the table stood when it was read. Below `newest` there may be ids that are given and not committed. */
export interface Standing {
  readonly newest: number
  readonly compacted: number
}

/** A step whose new records' versions the caller has chosen, so that it can recognise them. */
export interface EngineStep extends Omit<RecordStep, "put"> {
  readonly put: readonly { name: RecordName; version: string; value: Uint8Array }[]
}

/** One row of the log. `change` is undefined for rows that are nobody's change. */
export interface LogRow {
  readonly revision: number
  readonly name: string
  readonly change: Change | undefined
  readonly ttlSeconds: number
}

export interface LogPage extends Standing {
  /** The name of the row at the revision asked for; undefined where there is none. */
  readonly standsOn: string | undefined
  /** Rows above the revision asked for, in order; ids may be missing between them. */
  readonly rows: readonly LogRow[]
  /** Whether there may be more rows than these. */
  readonly more: boolean
  /** Differs whenever a record or the fence does. */
  readonly records: string
}

export interface RowsAsked extends Span {
  readonly limit: number
  /** Byte strings may be cut behind so many bytes. */
  readonly headBytes?: number | undefined
}

export interface SqlEngine {
  /** For messages: which database, without credentials. */
  readonly where: string

  standing(): Promise<Standing>
  head(key: string, revision: number): Promise<Standing & { head: Head | undefined }>
  list(
    range: KeyRange,
    at: { revision: number; limit: number },
  ): Promise<Standing & { entries: Entry[] }>
  count(range: KeyRange, revision: number): Promise<number>
  changes(prefix: string, span: Span): Promise<Stretch>
  rows(asked: RowsAsked): Promise<RowBatch>
  countRows(span: Span): Promise<number>
  leased(span: Span): Promise<Leased[]>

  write(write: EngineWrite): Promise<WriteResult>
  /** The rows of a key above a revision, to recognise what a write whose answer was lost has done. */
  rowsOf(key: string, after: number): Promise<readonly WrittenRow[]>
  step(step: EngineStep): Promise<{ revision: number } | "conflict">
  record(name: RecordName): Promise<StoredRecord | undefined>
  fence(): Promise<string | undefined>
  /** How many byte strings were replaced, each only where it was as expected. */
  rewrite(fence: string, replacements: readonly Replacement[]): Promise<number | "fenced">
  /** Moves the compacted revision from `after` to `upTo`; does nothing where it is elsewhere. */
  compact(span: Span): Promise<void>
  scrub(of?: "records"): Promise<void>

  log(after: number): Promise<LogPage>
  /** Stretches of ids above `after` that are missing below the newest one. */
  holes(after: number): Promise<Span[]>
  /** Decides what is missing of a span: waits for the transactions that hold one of its ids, and fills what nobody
   *  holds with rows `gap-<id>`, so that nothing can come there any more. */
  fill(span: Span): Promise<void>
  /** Takes `id` with a row that is nobody's, where nothing has it. No id at or below it is in flight then, and those that
   *  come are above it. */
  leap(id: number): Promise<void>

  /** Tells the other servers, soon, that something changed. */
  announce(): void
  /** `wake` is called when another server may have changed something. */
  onAnnounced(wake: () => void): void
  close(): Promise<void>
}
