/** Watching a log of changes.
 *
 *  A watcher is a position in the log, not a queue: it reads from there at its own pace, from the changes of the last
 *  moments where these reach back far enough, else from the store. So a slow reader costs no memory, and falls out only
 *  when compaction passes it. */
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown, KnownError } from "../errors.ts"
import type { Span } from "./kine.ts"
import type { Change, WatchOptions } from "./store.ts"

const RECENT_CHANGES_MAX = 4_096
const RECENT_BYTES_MAX = 16 << 20
/** Revisions looked at before other work gets its turn. */
const STRIDE = 1_000
const ASK_AGAIN_MS = 200

/** Changes of a span of revisions, and the revision they reach to (it may stop early). */
export interface Stretch {
  readonly changes: Change[]
  readonly upTo: number
  /** The compacted revision as it was when the changes were read. */
  readonly compacted: number
}

export interface ChangeLog {
  /** As far as is known; what is read says it for sure. */
  compacted(): number | Promise<number>
  /** To be asked for a revision that was not published yet. Throws FutureRevision where it is none: it is of a history that
   *  a restore has ended, and what comes up to there would be missed. */
  reach(revision: number): unknown
  read(prefix: string, span: Span): Stretch | Promise<Stretch>
  /** What cannot be read for now is read again: a watch outlives the time in which a datastore is away, or takes nobody. */
  readonly comesBack?: true
}

/** Where a watcher stands in the log. */
interface Position {
  revision: number
}

/** A watcher that has seen everything and sleeps. */
interface Sleeper {
  readonly prefix: string
  readonly at: Position
  readonly wake: () => void
}

export class WatchHub {
  readonly #log: ChangeLog
  readonly #watchers = new Set<Pick<WatchOptions, "prefix">>()
  readonly #sleepers = new Set<Sleeper>()
  /** Every change above `#recentAfter`, in order. */
  #recent: Change[] = []
  #recentBytes = 0
  #recentAfter: number
  #newest: number
  /** Another one after each {@link restart}. */
  #life = 0
  #closed = false

  constructor(log: ChangeLog, newest: number) {
    this.#log = log
    this.#newest = newest
    this.#recentAfter = newest
  }

  /** Takes committed changes, in order; up to `upTo` there are no others. */
  publish(changes: readonly Change[], upTo = changes.at(-1)?.revision): void {
    if (upTo === undefined) return
    this.#newest = upTo
    for (const change of changes) {
      this.#recent.push(change)
      this.#recentBytes += sizeBytes(change)
    }
    while (this.#recent.length > RECENT_CHANGES_MAX || this.#recentBytes > RECENT_BYTES_MAX) {
      this.#dropOlderHalf()
    }
    for (const sleeper of this.#sleepers) {
      const meant = changes.some(({ key }) => key.startsWith(sleeper.prefix))
      if (meant) this.#wake(sleeper)
      else sleeper.at.revision = Math.max(sleeper.at.revision, upTo)
    }
  }

  /** History up to `revision` was compacted before it was published: a watcher that stands below falls out. */
  skip(revision: number): void {
    this.#newest = revision
    this.forget()
    for (const sleeper of this.#sleepers) this.#wake(sleeper)
  }

  /** History is another one, at `revision` now: every watcher falls out. */
  restart(revision: number): void {
    this.#life += 1
    this.skip(revision)
  }

  /** Lets go of stored bytes, after they were rewritten in place. */
  forget(): void {
    this.#recent = []
    this.#recentBytes = 0
    this.#recentAfter = this.#newest
  }

  /** Whether anybody waits for what happens to one of `keys`. */
  isWatched(keys: readonly string[]): boolean {
    return this.#watchers.values().some(({ prefix }) => keys.some((key) => key.startsWith(prefix)))
  }

  async *watch(options: WatchOptions): AsyncGenerator<readonly Change[], void> {
    this.#watchers.add(options)
    try {
      yield* this.#watch(options)
    } finally {
      this.#watchers.delete(options)
    }
  }

  async *#watch({
    prefix,
    after,
    signal,
    progress: at = { revision: after },
  }: WatchOptions): AsyncGenerator<readonly Change[], void> {
    at.revision = after
    const life = this.#life
    let refusal: Refusal = "Compacted"
    await orOver(
      this.#untilThere(() => this.#refuseOutside(after), signal),
      signal,
    )
    while (!signal.aborted) {
      if (this.#closed) throw new KnownError("StoreUnavailable", "the store is closed")
      if (this.#life !== life) throw new KnownError("SlowWatcher", "history began anew")
      const asked = { prefix, after: at.revision, refusal }
      const batch = await orOver(
        this.#untilThere(() => this.#read(asked), signal),
        signal,
      )
      if (batch === undefined) return
      refusal = "SlowWatcher"
      if (batch.changes.length > 0) yield batch.changes
      at.revision = batch.upTo
      if (batch.changes.length > 0) continue
      if (at.revision < this.#newest) await new Promise(setImmediate)
      // What ends a watch may have come while history was read; asleep it would not learn of it.
      else if (!signal.aborted && !this.#closed && this.#life === life)
        await this.#sleep(prefix, at, signal)
    }
  }

  close(): void {
    this.#closed = true
    for (const sleeper of this.#sleepers) this.#wake(sleeper)
  }

  /** From here on the position is the watcher's own: no later publish may move it. */
  #wake(sleeper: Sleeper): void {
    this.#sleepers.delete(sleeper)
    sleeper.wake()
  }

  /** What history does not reach back to, or forward. */
  async #refuseOutside(revision: number): Promise<void> {
    refuseGap(revision, await this.#log.compacted(), "Compacted")
    if (revision > this.#newest) await this.#log.reach(revision)
  }

  async #untilThere<T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (;;)
      try {
        return await ask()
      } catch (error) {
        const mayBeThere = this.#log.comesBack && !this.#closed
        if (!mayBeThere || !isKnown(error, "StoreUnavailable", "StoreRefused")) throw error
        await sleep(ASK_AGAIN_MS, undefined, { signal })
      }
  }

  async #read({ prefix, after, refusal }: Asked): Promise<Read> {
    const upTo = Math.max(after, Math.min(after + STRIDE, this.#newest))
    if (after < this.#recentAfter) {
      const stretch = await this.#log.read(prefix, { after, upTo })
      refuseGap(after, stretch.compacted, refusal)
      return stretch
    }
    const from = firstAbove(this.#recent, after)
    const to = firstAbove(this.#recent, upTo)
    const changes = this.#recent.slice(from, to).filter(({ key }) => key.startsWith(prefix))
    return { changes, upTo }
  }

  async #sleep(prefix: string, at: Position, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const sleeper: Sleeper = { prefix, at, wake: resolve }
    this.#sleepers.add(sleeper)
    signal.addEventListener("abort", sleeper.wake, { once: true })
    try {
      await promise
    } finally {
      this.#sleepers.delete(sleeper)
      signal.removeEventListener("abort", sleeper.wake)
    }
  }

  #dropOlderHalf(): void {
    const dropped = this.#recent.splice(0, Math.ceil(this.#recent.length / 2))
    for (const change of dropped) this.#recentBytes -= sizeBytes(change)
    this.#recentAfter = dropped.at(-1)?.revision ?? this.#recentAfter
  }
}

/** Undefined where the signal comes first: history is read until the datastore answers, which may be away for good. */
function orOver<T>(reading: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<T | undefined>()
  const over = () => resolve(undefined)
  signal.addEventListener("abort", over, { once: true })
  reading.then(resolve, reject).finally(() => signal.removeEventListener("abort", over))
  return promise
}

interface Asked {
  readonly prefix: string
  readonly after: number
  readonly refusal: Refusal
}

type Read = Pick<Stretch, "upTo"> & { readonly changes: readonly Change[] }

/** Where the watch began too far back, or fell behind. */
type Refusal = "Compacted" | "SlowWatcher"

function refuseGap(at: number, compacted: number, code: Refusal): void {
  if (at >= compacted) return
  const seen = `the watch stands at revision ${at}, history begins after ${compacted}`
  throw new KnownError(code, seen)
}

export const sizeBytes = ({ value, previous }: Change): number =>
  (value?.length ?? 0) + (previous?.length ?? 0)

/** Index of the first change with a revision above `revision`, by bisection. */
function firstAbove(changes: readonly Change[], revision: number): number {
  let [low, high] = [0, changes.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((changes[middle]?.revision ?? Number.POSITIVE_INFINITY) <= revision) low = middle + 1
    else high = middle
  }
  return low
}
