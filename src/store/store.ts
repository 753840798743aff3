/** What every datastore does for keyturn: versioned values with compare-and-swap, a watch, the records (keyring, operation,
 *  history, usage, scrub) with the fence beside them, and rewriting. Stored bytes are never opened here.
 *
 *  A revision is a positive integer below 2^53, new for every committed change, growing over all keys. */

/** A live value. */
export interface Entry {
  readonly key: string
  readonly value: Buffer
  /** Revision of the newest change to `key`. */
  readonly revision: number
  readonly createRevision: number
}

/** One committed change, as a watch sees it. One object may reach many watchers: never mutate it. */
export interface Change {
  readonly type: "create" | "update" | "delete"
  readonly key: string
  readonly revision: number
  /** The value written; undefined for a delete. */
  readonly value?: Buffer
  /** What it replaced or deleted; undefined for a create. */
  readonly previous?: Buffer
}

export interface ListQuery {
  readonly prefix: string
  readonly after?: string
  readonly limit?: number
  readonly revision?: number
}

export interface Page {
  readonly entries: Entry[]
  /** The revision that the page answers at. */
  readonly revision: number
  /** Entries of the range beyond this page, at the same revision; 0 on the last page. */
  readonly remaining: number
}

/** `conflict`: the compare failed; `current` is the live entry, undefined where there is none.
 *  `fenced`: `fence` is not the current one, nothing was written. */
export type WriteResult =
  | { readonly outcome: "done"; readonly revision: number }
  | { readonly outcome: "conflict"; readonly current: Entry | undefined }
  | { readonly outcome: "fenced" }

/** `fence`: the id that must be current for the write to commit; undefined for a value that is never encrypted. */
export interface Write {
  readonly key: string
  readonly fence: string | undefined
}
export interface Create extends Write {
  readonly value: Uint8Array
  /** Seconds until the entry may be removed by the store; 0 or absent: never. */
  readonly ttlSeconds?: number
}
export interface Update extends Create {
  /** Revision of the live entry that is replaced. */
  readonly expected: number
}
export interface Delete extends Write {
  readonly expected: number
}

/** A named record beside the values. `version` is opaque and new at each change; compare for equality only. */
export interface StoredRecord {
  readonly value: Buffer
  readonly version: string
}
/** Stored: never rename one. */
export const RECORD_NAMES = ["keyring", "operation", "history", "usage", "scrub"] as const
export type RecordName = (typeof RECORD_NAMES)[number]

/** One atomic step on the records, under the exclusive lock that keeps every fenced write out. */
export interface RecordStep {
  /** Each record must be at this version (null: absent), else nothing happens. */
  readonly compare: { readonly name: RecordName; readonly version: string | null }[]
  readonly put?: { readonly name: RecordName; readonly value: Uint8Array }[]
  /** The fence must be `expected` (null: never set); `next`, where given, becomes the fence. */
  readonly fence?: { readonly expected: string | null; readonly next?: string }
}
/** `revision`: the newest revision while the lock was held. */
export type StepResult =
  | { readonly outcome: "done"; readonly revision: number }
  | { readonly outcome: "conflict" }

/** One stored row, for census, rewriting and proof. `previous` is kine's old_value. */
export interface Row {
  readonly revision: number
  readonly key: string
  readonly value: Buffer | undefined
  readonly previous: Buffer | undefined
  /** Absent: it may be, and a rewrite keeps its lease. */
  readonly isLeased?: boolean
}
/** Some rows, and the cursor that the next ones begin at. It is opaque; the empty text begins with the first row. */
export interface RowBatch {
  readonly rows: Row[]
  readonly cursor: string
  /** How many rows before the cursor were left out because of `except`; absent: none. */
  readonly leftOut?: number
  /** Whether nothing was behind the cursor at the moment of reading; absent: that is to be asked for. */
  readonly isLast?: boolean
}
/** Where to read rows. Without `upTo`: all of them, as they are at one moment where history cannot change in place. */
export interface RowRange {
  readonly cursor: string
  readonly upTo?: number
}
/** How much of it: `limit` rows at most, those left out included. */
export interface RowQuery extends RowRange {
  readonly limit: number
  /** Rows may be left out of which each stored byte string begins with this. */
  readonly except?: Uint8Array
  /** Byte strings may be cut behind so many bytes. */
  readonly headBytes?: number
  /** With `headBytes`: those that begin with this may be cut behind it. */
  readonly common?: Uint8Array
}

/** What the store does not take, as etcd a value that is too large. */
export interface Refused {
  readonly key: string
  readonly why: string
}

export type Rewritten =
  | { readonly outcome: "done"; readonly replaced: number; readonly refused?: readonly Refused[] }
  | { readonly outcome: "fenced" }

/** The replacement of one stored byte string of one row; `expected` are the bytes that were read. */
export interface Replacement extends Pick<Row, "key" | "revision" | "isLeased"> {
  readonly column: "value" | "previous"
  readonly expected: Uint8Array
  readonly replacement: Uint8Array
}

export interface WatchOptions {
  readonly prefix: string
  /** Changes with a revision above this one are delivered, in order, none twice, none missing. */
  readonly after: number
  readonly signal: AbortSignal
  /** Kept at the revision up to which everything was delivered, and taken: the reader has asked for more since. */
  readonly progress?: { revision: number }
}

/** For a thread of this process with a connection of its own to the same file. */
export interface Aside {
  /** Throws StoreUnavailable where the open file lies at its path no more. */
  refuseAstray(): void
  /** While the work lasts, nothing is cleared in the file, which would wait for who reads it. Throws StoreUnavailable as above. */
  inTurn<T>(work: () => Promise<T>): Promise<T>
}

export interface Store {
  /** The live entry of one key: as it was at `revision`, or now. Now means with every write in it that was acknowledged
   *  before; a list that begins later is as new. Throws KnownError Compacted, FutureRevision. */
  get(key: string, revision?: number): Promise<Entry | undefined>

  /** Entries whose key begins with `prefix` and is above `after`, in key order; at most `limit`, which is positive.
   *  Throws KnownError Compacted, FutureRevision. */
  list(query: ListQuery): Promise<Page>

  /** Live entries under `prefix` now. */
  count(prefix: string): Promise<number>

  create(write: Create): Promise<WriteResult>
  update(write: Update): Promise<WriteResult>
  delete(write: Delete): Promise<WriteResult>

  /** Batches of changes until `signal` aborts (a normal end). Throws KnownError Compacted where `after` is below the
   *  compacted revision, FutureRevision where it is above the newest, SlowWatcher where the reader fell too far behind or
   *  the datastore was put back to an earlier state. */
  watch(options: WatchOptions): AsyncIterable<readonly Change[]>

  /** The newest revision. A new store may have rows of its own already: kine's `/registry/health`, for one. */
  revision(): Promise<number>
  compactedRevision(): Promise<number>
  /** Forgets history at or below `revision`, in small steps; live entries stay. */
  compact(revision: number): Promise<void>

  record(name: RecordName): Promise<StoredRecord | undefined>
  fence(): Promise<string | undefined>
  step(step: RecordStep): Promise<StepResult>
  /** Yields whenever a record may have changed, soon after it did; never yields what it changed to. */
  watchRecords(signal: AbortSignal): AsyncIterable<void>

  /** Every row with a revision up to `upTo` that can still be read, at most `limit`. On SQL in the order of revisions,
   *  tombstones included; on etcd, whose history never changes, the live ones under /registry/ by key. Large rows make a
   *  batch shorter; the end is one that says so, or one without any, left out or not. */
  rows(query: RowQuery): Promise<RowBatch>
  /** About how many rows {@link rows} has left. */
  countRows(range: RowRange): Promise<number>
  /** A fenced write: replaces what still holds the bytes that were read; a lost compare is passed over, and what is refused is
   *  told. On SQL in place, without a revision or an event; on etcd as one update of each key. */
  rewrite(fence: string, replacements: readonly Replacement[]): Promise<Rewritten>
  /** Clears what rewriting left behind: in files that the store owns (write-ahead log, free pages), in history on etcd, which
   *  cannot be read from then on.
   *  `of`: only what records left, where that is less work; or byte strings that nothing stored begins with any more: where
   *  nothing is left of these either, the store may leave it at that. */
  scrub: (of?: "records" | readonly Uint8Array[]) => Promise<void>

  /** Copies all of it, as it stands at one moment, into the new file `path`, durably. Throws UsageInvalid where that is for the
   *  database's own tools. */
  snapshot(path: string): Promise<void>

  /** Of a store in a file of this machine. */
  readonly aside?: Aside

  close(): Promise<void>
}

/** What reading the stored bytes takes, where nothing is to be changed. */
export interface StoreReader extends Pick<Store, "rows" | "revision" | "record" | "close"> {
  list(query: ListQuery): Promise<Pick<Page, "entries" | "revision">>
}
