/** The datastore on SQLite: kine's table in one file, written by this process alone.
 *
 *  SQLite runs in the main thread, but for a rewrite (sqlite-rows.ts). Reads take microseconds; writes wait for the end of
 *  the event loop's turn and share one transaction (sqlite-commit.ts), so the loop stands still for one sync to the disk
 *  however many there are. What a read sees is always committed; and durable, but for what a rewrite has put in its place. */
import { KnownError } from "../errors.ts"
import { oneByOne } from "../one-by-one.ts"
import { Expiry, type Schedule, systemSchedule } from "./expiry.ts"
import { type Span, spanOf } from "./kine.ts"
import { lastKey, PageCounts } from "./page-counts.ts"
import { compactedAway, refuseFuture } from "./revisions.ts"
import { CommitQueue } from "./sqlite-commit.ts"
import { storeError } from "./sqlite-errors.ts"
import { checkpoint, copyDatabase, emptyLog, openFile } from "./sqlite-file.ts"
import { KineTable, keyRange } from "./sqlite-kine.ts"
import { RecordTable } from "./sqlite-records.ts"
import { SqliteRows } from "./sqlite-rows.ts"
import { holds } from "./file-search.ts"
import { writeAfresh } from "./sqlite-residue.ts"
import type {
  Aside,
  Change,
  Create,
  Delete,
  Entry,
  ListQuery,
  Page,
  RecordName,
  RecordStep,
  Replacement,
  Rewritten,
  RowBatch,
  RowQuery,
  RowRange,
  StepResult,
  Store,
  StoredRecord,
  Update,
  WatchOptions,
  Write,
  WriteResult,
} from "./store.ts"
import { RecentEntries } from "./recent-entries.ts"
import { Wakers } from "./wakers.ts"
import { WatchHub } from "./watch-hub.ts"

/** Rows looked at in one step of compaction, or of the search for entries with a time to live. */
const STEP_ROWS = 500

export interface SqliteOptions {
  readonly path: string
  /** Called with what nobody else hears of: a failure in the background. */
  readonly warn?: (message: string, error: unknown) => void
  readonly schedule?: Schedule
}

export function openSqlite(options: SqliteOptions): Store {
  try {
    return new SqliteStore(options)
  } catch (error) {
    throw storeError(options.path, error)
  }
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

class SqliteStore implements Store {
  readonly aside: Aside
  readonly #path: string
  readonly #warn: (message: string, error: unknown) => void
  readonly #db: ReturnType<typeof openFile>
  readonly #kine: KineTable
  readonly #records: RecordTable
  readonly #rows: SqliteRows
  readonly #queue: CommitQueue
  readonly #hub: WatchHub
  readonly #expiry: Expiry
  readonly #recordWakers = new Wakers()
  readonly #recent = new RecentEntries()
  /** Known until the next commit. */
  #newest: number | undefined
  readonly #pageCounts = new PageCounts()
  #closed = false
  readonly #inTurn = oneByOne()

  constructor({ path, warn = () => {}, schedule = systemSchedule }: SqliteOptions) {
    this.#path = path
    this.aside = {
      refuseAstray: () => this.#reading(() => this.#queue.refuseAstray()),
      inTurn: (work) => this.#inTurn(async () => this.aside.refuseAstray() ?? work()),
    }
    this.#warn = warn
    this.#db = openFile(path)
    const kine = new KineTable(this.#db)
    this.#kine = kine
    this.#records = new RecordTable(this.#db)
    this.#rows = new SqliteRows(kine, this.#records)
    const read = (prefix: string, span: Span) =>
      this.#reading(() => kine.changes(keyRange(prefix), span))
    const log = {
      compacted: () => kine.compacted(),
      reach: (revision: number) => refuseFuture(revision, kine.revision()),
      read,
    }
    this.#hub = new WatchHub(log, kine.revision())
    const committed = (changes: readonly Change[]): void => {
      this.#newest = undefined
      for (const { key } of changes) this.#recent.forget(key)
      this.#hub.publish(changes)
    }
    this.#queue = new CommitQueue({ db: this.#db, path, committed })
    const remove = (key: string, expected: number) =>
      this.delete({ key, expected, fence: undefined })
    this.#expiry = new Expiry({ schedule, remove, warn })
    void this.#findLeased()
  }

  async get(key: string, revision?: number): Promise<Entry | undefined> {
    return this.#reading(() => {
      const at = this.#readable(revision)
      if (at !== this.#newestRevision()) return this.#kine.live(key, at)
      const known = this.#recent.get(key)
      if (known !== undefined) return known
      const entry = this.#kine.live(key)
      if (entry !== undefined) this.#recent.add(entry)
      return entry
    })
  }

  async list(range: ListQuery): Promise<Page> {
    const { prefix, after, limit = Number.MAX_SAFE_INTEGER } = range
    return this.#reading(() => {
      const revision = this.#readable(range.revision)
      const entries = this.#kine.list(keyRange(prefix, after), { revision, limit })
      if (entries.length < limit) return { entries, revision, remaining: 0 }
      const asked = { prefix, after, revision }
      const remaining =
        this.#pageCounts.known(asked, entries) ??
        this.#kine.count(keyRange(prefix, lastKey(entries)), revision)
      this.#pageCounts.remember(asked, entries, remaining)
      return { entries, revision, remaining }
    })
  }

  async count(prefix: string): Promise<number> {
    return this.#reading(() => this.#kine.count(keyRange(prefix)))
  }

  async create(write: Create): Promise<WriteResult> {
    const { key, ttlSeconds: ttl = 0 } = write
    const value = Buffer.from(write.value)
    const result = await this.#write(write, (changes) => {
      const head = this.#kine.head(key)
      if (head?.deleted === false) return { outcome: "conflict", current: head.entry }
      const tombstone = head?.entry.revision ?? 0
      const revision = this.#kine.create(key, { value, ttl, tombstone })
      changes.push({ type: "create", key, revision, value })
      return { outcome: "done", revision }
    })
    if (result.outcome === "done") this.#expiry.track({ key, ttlSeconds: ttl, ...result })
    return result
  }

  async update(write: Update): Promise<WriteResult> {
    const { key, ttlSeconds: ttl = 0 } = write
    const value = Buffer.from(write.value)
    const result = await this.#write(write, (changes) => {
      const current = this.#kine.live(key)
      if (current?.revision !== write.expected) return { outcome: "conflict", current }
      const revision = this.#kine.update(current, { value, ttl })
      changes.push({ type: "update", key, revision, value, previous: current.value })
      return { outcome: "done", revision }
    })
    if (result.outcome === "done") this.#expiry.track({ key, ttlSeconds: ttl, ...result })
    return result
  }

  async delete(write: Delete): Promise<WriteResult> {
    const { key } = write
    const result = await this.#write(write, (changes) => {
      const current = this.#kine.live(key)
      if (current?.revision !== write.expected) return { outcome: "conflict", current }
      const revision = this.#kine.delete(current)
      changes.push({ type: "delete", key, revision, previous: current.value })
      return { outcome: "done", revision }
    })
    if (result.outcome === "done") this.#expiry.forget(key)
    return result
  }

  watch(options: WatchOptions): AsyncIterable<readonly Change[]> {
    return this.#hub.watch(options)
  }

  async revision(): Promise<number> {
    return this.#reading(() => this.#newestRevision())
  }

  async compactedRevision(): Promise<number> {
    return this.#reading(() => this.#kine.compacted())
  }

  async compact(revision: number): Promise<void> {
    const now = await this.revision()
    refuseFuture(revision, now)
    while ((await this.compactedRevision()) < revision) {
      await this.#queue.submit(() => {
        const after = this.#kine.compacted()
        this.#kine.compact(Math.min(revision, this.#kine.stepEnd({ after, rows: STEP_ROWS })))
      })
    }
    this.#reading(() => checkpoint(this.#db))
  }

  async record(name: RecordName): Promise<StoredRecord | undefined> {
    return this.#reading(() => this.#records.record(name))
  }

  async fence(): Promise<string | undefined> {
    return this.#reading(() => this.#records.fence())
  }

  async step(step: RecordStep): Promise<StepResult> {
    const result = await this.#queue.submit((): StepResult => {
      if (!this.#records.step(step)) return { outcome: "conflict" }
      return { outcome: "done", revision: this.#kine.revision() }
    })
    if (result.outcome === "done") this.#recordWakers.wake()
    return result
  }

  watchRecords(signal: AbortSignal): AsyncIterable<void> {
    return this.#recordWakers.wakes(signal)
  }

  async rows(query: RowQuery): Promise<RowBatch> {
    return this.#reading(() => this.#rows.read(query))
  }

  async countRows(range: RowRange): Promise<number> {
    return this.#reading(() => this.#kine.countRows(spanOf(range)))
  }

  rewrite(fence: string, replacements: readonly Replacement[]): Promise<Rewritten> {
    return this.#queue.submit(() => {
      this.#hub.forget()
      this.#recent.clear()
      return this.#rows.rewrite(fence, replacements)
    })
  }

  scrub(of: "records" | readonly Uint8Array[] = []): Promise<void> {
    this.#reading(() => {})
    return this.#inTurn(() => this.#scrub(of))
  }

  async #scrub(of: "records" | readonly Uint8Array[]): Promise<void> {
    this.#queue.refuseAstray()
    this.#queue.flush()
    this.#hub.forget()
    this.#recent.clear()
    this.#reading(() => emptyLog(this.#db, this.#path))
    if (of !== "records" && of.length > 0 && !(await holds(this.#path, of))) return
    try {
      await this.#queue.hold(() => writeAfresh(this.#path))
    } catch (error) {
      throw storeError(this.#path, error)
    }
  }

  async snapshot(path: string): Promise<void> {
    await this.aside.inTurn(() => copyDatabase(this.#path, path))
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#expiry.close()
    await this.#inTurn(async () => {})
    this.#queue.close()
    this.#hub.close()
    this.#recordWakers.close()
    this.#db.close()
  }

  #write({ fence }: Write, change: (changes: Change[]) => WriteResult): Promise<WriteResult> {
    return this.#queue.submit((changes) => {
      if (fence !== undefined && this.#records.fence() !== fence) return { outcome: "fenced" }
      return change(changes)
    })
  }

  #reading<T>(read: () => T): T {
    if (this.#closed) throw new KnownError("StoreUnavailable", "the store is closed")
    try {
      return read()
    } catch (error) {
      throw storeError(this.#path, error)
    }
  }

  /** Outside of a transaction only. */
  #newestRevision(): number {
    this.#newest ??= this.#kine.revision()
    return this.#newest
  }

  /** The revision to answer at: `revision`, or the newest. */
  #readable(revision: number | undefined): number {
    const now = this.#newestRevision()
    if (revision === undefined || revision === now) return now
    refuseFuture(revision, now)
    const compacted = this.#kine.compacted()
    if (revision >= compacted) return revision
    throw compactedAway(revision, compacted)
  }

  /** Starts the clocks of the entries that an earlier process left. One that was replaced meanwhile is no harm: the
   *  delete compares the revision. */
  async #findLeased(): Promise<void> {
    try {
      const newest = this.#kine.revision()
      for (let after = 0; after < newest; ) {
        await nextTurn()
        if (this.#closed) return
        const upTo = this.#kine.stepEnd({ after, rows: STEP_ROWS })
        for (const leased of this.#kine.leased({ after, upTo })) this.#expiry.track(leased)
        after = upTo
      }
    } catch (error) {
      this.#warn("entries with a time to live could not be listed", storeError(this.#path, error))
    }
  }
}
