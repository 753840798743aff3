/** The datastore on a database server that several keyturns may write at once, in kine's table. (A kine beside them would be read
 *  rightly, but compares no fence.) The engine has the statements; here is what holds for all of them: at which revision a read
 *  answers, what becomes of a write whose answer is lost, how a watch learns of what others wrote. No stored bytes are kept for
 *  longer than it takes to tell the watchers. */
import { randomBytes } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { KnownError } from "../errors.ts"
import { Expiry, type Schedule, systemSchedule } from "./expiry.ts"
import { liveEntry, NEWEST, spanOf } from "./kine.ts"
import { change, creation, deletion, type EngineWrite } from "./engine-write.ts"
import { AnswerLost, lookFor, unknown } from "./lost-answer.ts"
import { lastKey, PageCounts } from "./page-counts.ts"
import { compactedAway, refuseFuture } from "./revisions.ts"
import type { EngineStep, SqlEngine, Standing } from "./sql-engine.ts"
import { SqlRows, untilDone } from "./sql-rows.ts"
import { type SettledPart, Tail } from "./sql-tail.ts"
import type {
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
  WriteResult,
} from "./store.ts"
import { Wakers } from "./wakers.ts"
import { WatchHub } from "./watch-hub.ts"

/** Revisions forgotten in one transaction of compaction, as in kine. */
const COMPACT_REVISIONS = 1_000
const LEASED_REVISIONS = 100_000
const LEASED_AGAIN_MS = 1_000

export interface SqlStoreOptions {
  /** Called with what nobody else hears of: a failure in the background. */
  readonly warn?: (message: string, error: unknown) => void
  readonly schedule?: Schedule
}

/** Opens a store over an engine whose tables exist; closes the engine where that fails. */
export async function openSqlStore(engine: SqlEngine, options: SqlStoreOptions): Promise<Store> {
  try {
    return new SqlStore(engine, await settle(engine), options)
  } catch (error) {
    await engine.close()
    throw error
  }
}

/** Returns the newest revision; none at or below it is in flight. */
async function settle(engine: SqlEngine): Promise<number> {
  const { newest, compacted } = await engine.standing()
  for (const hole of await engine.holes(compacted)) await engine.fill(hole)
  return newest
}

/** More than one server has told before another has. */
const TOLD_BY_OTHERS = 1_000

class SqlStore implements Store {
  readonly #engine: SqlEngine
  readonly #rows: SqlRows
  readonly #warn: (message: string, error: unknown) => void
  readonly #tail: Tail
  readonly #hub: WatchHub
  readonly #expiry: Expiry
  readonly #recordWakers = new Wakers()
  #pageCounts = new PageCounts()
  /** A look at the log may be under way that read bytes from before they were rewritten. */
  #forgetsAgain = false
  #closed = false

  constructor(engine: SqlEngine, start: number, options: SqlStoreOptions) {
    const { warn = () => {}, schedule = systemSchedule } = options
    this.#engine = engine
    this.#rows = new SqlRows(engine)
    this.#warn = warn
    this.#hub = new WatchHub(
      {
        compacted: async () => (await engine.standing()).compacted,
        reach: async (revision) => {
          refuseFuture(revision, (await engine.standing()).newest)
          await this.#tail.reach(revision)
        },
        read: (prefix, span) => engine.changes(prefix, span),
        comesBack: true,
      },
      start,
    )
    const remove = (key: string, expected: number) =>
      this.delete({ key, expected, fence: undefined })
    this.#expiry = new Expiry({ schedule, remove, warn })
    this.#tail = new Tail({
      engine,
      start,
      settled: (part) => this.#settled(part),
      beginAnew: (told) => this.#beginAnew(told),
      wentBack: (newest) => this.#wentBack(newest),
      recordsChanged: () => this.#recordsChanged(),
      warn,
    })
    engine.onAnnounced(() => this.#tail.wake())
    void this.#findLeased(start)
  }

  /** The rows of one key commit in the order of their ids, for each names the one before it. So the newest that can be read
   *  is the key's state, whatever is in flight elsewhere. */
  async get(key: string, revision?: number): Promise<Entry | undefined> {
    this.#refuseClosed()
    if (revision === undefined) return liveEntry((await this.#engine.head(key, NEWEST)).head)
    const { found } = await this.#readAt(revision, (at) => this.#engine.head(key, at))
    return liveEntry(found.head)
  }

  async list(range: ListQuery): Promise<Page> {
    const { prefix, after, limit = NEWEST } = range
    const { found, at } = await this.#readAt(range.revision, (at) =>
      this.#engine.list({ prefix, after }, { revision: at, limit }),
    )
    const { entries } = found
    if (entries.length < limit) return { entries, revision: at, remaining: 0 }
    const asked = { prefix, after, revision: at }
    const remaining =
      this.#pageCounts.known(asked, entries) ??
      (await this.#engine.count({ prefix, after: lastKey(entries) }, at))
    this.#pageCounts.remember(asked, entries, remaining)
    return { entries, revision: at, remaining }
  }

  async count(prefix: string): Promise<number> {
    this.#refuseClosed()
    return await this.#engine.count({ prefix }, NEWEST)
  }

  create(write: Create): Promise<WriteResult> {
    return this.#write(creation(write))
  }

  update(write: Update): Promise<WriteResult> {
    return this.#write(change(write))
  }

  delete(write: Delete): Promise<WriteResult> {
    return this.#write(deletion(write))
  }

  watch(options: WatchOptions): AsyncIterable<readonly Change[]> {
    return this.#hub.watch(options)
  }

  async revision(): Promise<number> {
    return (await this.#readAt(undefined, () => this.#engine.standing())).at
  }

  async compactedRevision(): Promise<number> {
    this.#refuseClosed()
    return (await this.#engine.standing()).compacted
  }

  async compact(revision: number): Promise<void> {
    const now = await this.revision()
    refuseFuture(revision, now)
    await this.#compactTo(revision)
  }

  async #compactTo(revision: number): Promise<void> {
    for (;;) {
      const after = await this.compactedRevision()
      if (after >= revision) return
      const upTo = Math.min(revision, after + COMPACT_REVISIONS)
      await this.#again(() => this.#engine.compact({ after, upTo }))
    }
  }

  /** Where another table has come, as after a restore: revisions up to `told`, and what other servers told that were further, may be
   *  known to clients, and mean nothing in it. So its own go on above them, and history begins there. Returns a settled revision. */
  async #beginAnew(told: number): Promise<number> {
    const first = told + TOLD_BY_OTHERS
    await this.#again(() => this.#engine.leap(first))
    await this.#compactTo(first)
    return settle(this.#engine)
  }

  async record(name: RecordName): Promise<StoredRecord | undefined> {
    this.#refuseClosed()
    return await this.#engine.record(name)
  }

  async fence(): Promise<string | undefined> {
    this.#refuseClosed()
    return await this.#engine.fence()
  }

  async step({ put = [], ...rest }: RecordStep): Promise<StepResult> {
    // Random, so that a record restored from a backup and changed again never repeats a version somebody has seen.
    const version = (): string => randomBytes(16).toString("hex")
    const step = { ...rest, put: put.map((record) => ({ ...record, version: version() })) }
    const result = await this.#again(() => this.#engine.step(step)).catch((error: unknown) => {
      if (error instanceof AnswerLost) return this.#lookForStep(step, error)
      throw error
    })
    if (result === "conflict") return { outcome: "conflict" }
    this.#changed()
    return { outcome: "done", revision: result.revision }
  }

  watchRecords(signal: AbortSignal): AsyncIterable<void> {
    return this.#recordWakers.wakes(signal)
  }

  async rows(query: RowQuery): Promise<RowBatch> {
    this.#refuseClosed()
    return await this.#rows.rows(query)
  }

  async countRows(range: RowRange): Promise<number> {
    this.#refuseClosed()
    return await this.#engine.countRows(spanOf(range))
  }

  async rewrite(fence: string, replacements: readonly Replacement[]): Promise<Rewritten> {
    this.#refuseClosed()
    const rewritten = await this.#rows.rewrite(fence, replacements)
    this.#forget()
    return rewritten
  }

  async scrub(of?: "records" | readonly Uint8Array[]): Promise<void> {
    this.#refuseClosed()
    await this.#engine.scrub(of === "records" ? of : undefined)
    this.#forget()
  }

  async snapshot(): Promise<never> {
    const { where } = this.#engine
    throw new KnownError("UsageInvalid", `${where} is copied and restored by its own tools`)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#expiry.close()
    this.#hub.close()
    this.#recordWakers.close()
    // The tail ends at once when its connection does.
    await Promise.all([this.#tail.close(), this.#engine.close()])
  }

  /** Reads at a revision, or at the newest one that is settled once that has reached what the table held when it was
   *  asked. Mostly all of the table is settled, and the first read is the answer. */
  async #readAt<T extends Standing>(
    revision: number | undefined,
    read: (revision: number) => Promise<T>,
  ): Promise<{ found: T; at: number }> {
    this.#refuseClosed()
    const at = revision ?? this.#tail.settled
    const found = await read(at)
    if (revision === undefined) {
      if (found.newest === at) return { found, at }
      const isBack = found.newest < at
      const reached = await (isBack ? this.#tail.wentBackFrom(at) : this.#tail.reach(found.newest))
      // While another table comes, what is reached may be less than what was there when it was asked.
      return this.#readAt(isBack || reached < found.newest ? undefined : reached, read)
    }
    refuseFuture(revision, found.newest)
    if (revision < found.compacted) throw compactedAway(revision, found.compacted)
    if (revision <= this.#tail.settled) return { found, at }
    await this.#tail.reach(revision)
    return this.#readAt(revision, read)
  }

  async #write(write: EngineWrite): Promise<WriteResult> {
    const { settled } = this.#tail
    const result = await this.#again(() => this.#engine.write(write)).catch((error: unknown) => {
      if (error instanceof AnswerLost) return this.#lookFor(write, settled, error)
      throw error
    })
    if (result.outcome === "done") this.#changed()
    return result
  }

  #lookFor(write: EngineWrite, after: number, lost: AnswerLost): Promise<WriteResult> {
    const look = {
      rows: () => this.#engine.rowsOf(write.key, after),
      live: () => this.get(write.key),
      fence: () => this.#engine.fence(),
    }
    return lookFor(write, look, { lost, warn: this.#warn })
  }

  async #lookForStep(step: EngineStep, lost: AnswerLost): Promise<{ revision: number }> {
    try {
      // Later than the lock was held, and so at or above every write that it kept out; settled, for writes are under way again.
      if (await isMade(this.#engine, step)) return { revision: await this.revision() }
    } catch (error) {
      this.#warn("a change of the records could not be looked for", error)
    }
    throw unknown("a change of the records", lost)
  }

  #again<T>(action: () => Promise<T>): Promise<T> {
    return untilDone(async () => {
      this.#refuseClosed()
      return await action()
    })
  }

  #changed(): void {
    this.#tail.wake()
    this.#engine.announce()
  }

  #settled({ rows, upTo, skippedTo = 0 }: SettledPart): void {
    for (const { change, ttlSeconds, revision } of rows) {
      if (change === undefined) continue
      if (change.type === "delete") this.#expiry.forget(change.key)
      else this.#expiry.track({ key: change.key, revision, ttlSeconds })
    }
    if (skippedTo > 0) this.#hub.skip(skippedTo)
    const changes = rows.flatMap(({ change, revision }) =>
      change === undefined || revision <= skippedTo ? [] : [change],
    )
    this.#hub.publish(changes, upTo)
    if (this.#forgetsAgain) this.#hub.forget()
    this.#forgetsAgain = false
  }

  /** The table is another one, as after a restore: nothing that is known of it holds. */
  #wentBack(newest: number): void {
    this.#warn(
      `${this.#engine.where} holds another history, as after a restore; it begins at revision ${newest}`,
      undefined,
    )
    this.#hub.restart(newest)
    this.#pageCounts = new PageCounts()
    this.#expiry.clear()
    void this.#findLeased(newest)
  }

  /** Another server may have rewritten what is kept here, and may soon destroy the key it was under. */
  #recordsChanged(): void {
    this.#hub.forget()
    this.#recordWakers.wake()
  }

  #forget(): void {
    this.#hub.forget()
    this.#forgetsAgain = true
  }

  #refuseClosed(): void {
    if (this.#closed) throw new KnownError("StoreUnavailable", "the store is closed")
  }

  /** Starts the clocks of the entries that are there already. One that was replaced meanwhile is no harm: the delete
   *  compares the revision. */
  async #findLeased(newest: number): Promise<void> {
    for (let after = 0; after < newest && !this.#closed; ) {
      const upTo = Math.min(newest, after + LEASED_REVISIONS)
      try {
        for (const leased of await this.#engine.leased({ after, upTo })) this.#expiry.track(leased)
        after = upTo
      } catch (error) {
        if (this.#closed) return
        this.#warn("entries with a time to live could not be listed yet", error)
        await sleep(LEASED_AGAIN_MS, undefined, { ref: false })
      }
    }
  }
}

/** Whether the records are as `step` leaves them. Its versions are like no others, and fences are. */
export async function isMade(
  engine: SqlEngine,
  { put: [put], fence }: EngineStep,
): Promise<boolean> {
  if (put !== undefined) return (await engine.record(put.name))?.version === put.version
  return fence?.next !== undefined && (await engine.fence()) === fence.next
}
