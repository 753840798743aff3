/** Following the table in the order of its ids.
 *
 *  A database gives ids before it commits them, so rows appear out of order. A revision is *settled* when no id at or
 *  below it is in flight: each is a row that can be read, or was compacted, or will never come. Up to there lists
 *  answer and watches tell; a hole holds both back until its transaction has ended. One that stays is filled, as in
 *  kine.
 *
 *  The loop looks soon after it is woken (by an own write, by another server's announcement), at once for a reader who
 *  waits, and every second at the latest. */
import { isKnown, KnownError } from "../errors.ts"
import type { Span } from "./kine.ts"
import type { LogPage, LogRow, SqlEngine } from "./sql-engine.ts"

const LOOK_EVERY_MS = 1_000
const RETRY_MS = 200
/** What is written within this is looked at together, where nobody waits for it: a look costs about what a write does. */
const GATHER_MS = 5
/** A transaction under way commits within this, as a rule. */
const LOOK_AT_HOLE_EVERY_MS = 2
/** An id that is missing for longer than this is asked for. Filling it sooner could take it from a writer that was
 *  given it and has not inserted its row yet: he would have to write again. */
const HOLE_PATIENCE_MS = 20
const SETTLE_WITHIN_MS = 10_000

export interface TailOptions {
  readonly engine: SqlEngine
  /** A settled revision. */
  readonly start: number
  /** Called with each settled stretch of the log: in order, none twice, none missing. */
  readonly settled: (part: SettledPart) => void
  /** Where the log is another one than that which was told up to `told`: returns a settled revision above that, from which it
   *  goes on. */
  readonly beginAnew: (told: number) => Promise<number>
  /** Called instead of `settled` then, with where it goes on. */
  readonly wentBack: (newest: number) => void
  /** Called when a record or the fence may have changed. */
  readonly recordsChanged: () => void
  readonly warn: (message: string, error: unknown) => void
}

export interface SettledPart {
  readonly rows: readonly LogRow[]
  readonly upTo: number
  /** Where another server compacted further than this one had followed: history up to here was not seen whole. */
  readonly skippedTo?: number
  /** What keeps the rest from being settled. */
  readonly hole?: Span
}

interface Waiter {
  readonly revision: number
  readonly done: (settled: number) => void
  readonly failed: (reason: unknown) => void
}

export class Tail {
  readonly #options: TailOptions
  readonly #waiters = new Set<Waiter>()
  #settled: number
  /** The name of the row at the settled revision, once it is known. */
  #standsOn: string | undefined
  #records: string | undefined
  /** The first missing id, and whether it was so for long enough. */
  #hole: { readonly id: number; readonly patience: NodeJS.Timeout; isOverdue: boolean } | undefined
  #woken = Promise.withResolvers<void>()
  #hurried = Promise.withResolvers<void>()
  #closed = false
  /** What the last look failed with; undefined: it did not. */
  #failed: unknown
  readonly #ended: Promise<void>

  constructor(options: TailOptions) {
    this.#options = options
    this.#settled = options.start
    this.#ended = this.#run()
  }

  /** No id at or below it is in flight. */
  get settled(): number {
    return this.#settled
  }

  /** Looks again soon. */
  wake(): void {
    this.#woken.resolve()
  }

  /** Resolves with the settled revision once that has reached `revision`. */
  reach(revision: number): Promise<number> {
    if (this.#settled >= revision) return Promise.resolve(this.#settled)
    this.#hurry()
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer)
        this.#waiters.delete(waiter)
      }
      const waiter: Waiter = {
        revision,
        done: (settled) => {
          end()
          resolve(settled)
        },
        failed: (reason) => {
          end()
          reject(reason)
        },
      }
      const timer = setTimeout(() => waiter.failed(this.#stuck(revision)), SETTLE_WITHIN_MS)
      this.#waiters.add(waiter)
    })
  }

  /** Resolves with the settled revision once the log is seen to end before `revision`; to be called where a read has seen
   *  that. */
  wentBackFrom(revision: number): Promise<number> {
    return this.#settled < revision
      ? Promise.resolve(this.#settled)
      : this.reach(Number.POSITIVE_INFINITY)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#hurry()
    const reason = new KnownError("StoreUnavailable", "the store is closed")
    for (const waiter of this.#waiters) waiter.failed(reason)
    await this.#ended
    clearTimeout(this.#hole?.patience)
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      try {
        const restMs = await this.#look()
        this.#failed = undefined
        await this.#sleep(restMs)
      } catch (error) {
        if (this.#failed === undefined && !this.#closed) {
          this.#options.warn(`${this.#options.engine.where} cannot be followed for now`, error)
        }
        this.#failed = error
        await this.#sleep(RETRY_MS)
      }
    }
  }

  /** Takes what has settled since the last look; returns how long to rest before the next one. */
  async #look(): Promise<number> {
    const { engine, settled, recordsChanged } = this.#options
    const page = await engine.log(this.#settled)
    if (this.#isAnother(page)) return this.#goBack()
    const part = settledPart(page, this.#settled)
    const { rows, upTo, hole } = part
    const isMoved = upTo > this.#settled
    this.#standsOn = isMoved ? rows.find(({ revision }) => revision === upTo)?.name : page.standsOn
    if (isMoved) {
      this.#settled = upTo
      settled(part)
      for (const waiter of this.#waiters) if (waiter.revision <= upTo) waiter.done(upTo)
    }
    if (page.records !== this.#records) recordsChanged()
    this.#records = page.records
    if (hole === undefined) {
      this.#forgetHole()
      return page.more ? 0 : LOOK_EVERY_MS
    }
    if (!this.#isOverdue(hole.after + 1)) return LOOK_AT_HOLE_EVERY_MS
    await engine.fill(hole)
    return 0
  }

  /** Whether the table is no longer the one that was followed: it ends before, or what stood at the settled revision, and no
   *  compaction removes, does not. A database that never goes back to an id soon has rows above it all the same. */
  #isAnother({ newest, compacted, standsOn }: LogPage): boolean {
    if (newest < this.#settled) return true
    if (compacted >= this.#settled) return false
    return standsOn !== (this.#standsOn ?? standsOn) || standsOn === undefined
  }

  /** Everything is looked at anew. Who waits looks again too: it may wait for what is no more. */
  async #goBack(): Promise<number> {
    const { beginAnew, wentBack, recordsChanged } = this.#options
    const newest = await beginAnew(this.#settled)
    this.#settled = newest
    this.#standsOn = undefined
    this.#records = undefined
    this.#forgetHole()
    wentBack(newest)
    recordsChanged()
    for (const waiter of this.#waiters) waiter.done(newest)
    return 0
  }

  #isOverdue(id: number): boolean {
    if (this.#hole?.id === id) return this.#hole.isOverdue
    this.#forgetHole()
    const patience = setTimeout(() => {
      if (this.#hole?.id === id) this.#hole.isOverdue = true
    }, HOLE_PATIENCE_MS)
    this.#hole = { id, patience, isOverdue: false }
    return false
  }

  #forgetHole(): void {
    clearTimeout(this.#hole?.patience)
    this.#hole = undefined
  }

  /** Until the time is over or somebody wakes it. */
  async #sleep(restMs: number): Promise<void> {
    if (restMs > 0 && !this.#closed) {
      const timer = setTimeout(() => this.wake(), restMs)
      await this.#woken.promise
      clearTimeout(timer)
      await this.#gather()
    }
    this.#woken = Promise.withResolvers<void>()
  }

  async #gather(): Promise<void> {
    this.#hurried = Promise.withResolvers<void>()
    if (this.#closed || this.#waiters.size > 0) return
    const timer = setTimeout(() => this.#hurried.resolve(), GATHER_MS)
    await this.#hurried.promise
    clearTimeout(timer)
  }

  #hurry(): void {
    this.#woken.resolve()
    this.#hurried.resolve()
  }

  #stuck(revision: number): KnownError {
    const cause = this.#failed
    if (isKnown(cause)) return new KnownError("StoreUnavailable", cause.message, { cause })
    const { where } = this.#options.engine
    const seen = `${where}: revision ${this.#settled + 1} is in flight since ${SETTLE_WITHIN_MS / 1000} s`
    return new KnownError("StoreUnavailable", `${seen}, revision ${revision} cannot be told before`)
  }
}

/** The rows up to the first id that is missing above the compacted revision, and that hole. What is missing below it
 *  was compacted: the table and the compacted revision are of one snapshot. */
export function settledPart(
  { rows, compacted }: Pick<LogPage, "rows" | "compacted">,
  settled: number,
): SettledPart {
  const skipped = compacted > settled ? { skippedTo: compacted } : {}
  let upTo = Math.max(settled, compacted)
  for (const [index, { revision }] of rows.entries()) {
    if (revision > upTo + 1) {
      const hole = { after: upTo, upTo: revision - 1 }
      return { ...skipped, rows: rows.slice(0, index), upTo, hole }
    }
    upTo = Math.max(upTo, revision)
  }
  return { ...skipped, rows, upTo }
}
