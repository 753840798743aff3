/** etcd's history as one store follows it: one watch over the records and the values tells all watchers.
 *
 *  A reader of what lies further back must know when it has read all of it. etcd does not say (what it tells on request
 *  may overtake events, etcd-io/etcd#15220), so the end is made to be an event: the mark, a key that each store puts
 *  when it opens. Who meets that, or any event after it, has met all before it. */
import { setTimeout as sleep } from "node:timers/promises"
import { KnownError } from "../errors.ts"
import { range } from "./etcd-calls.ts"
import type { EtcdChannel } from "./etcd-channel.ts"
import { WasCompacted } from "./etcd-errors.ts"
import { FOLLOWED, MARK, OWN, VALUES } from "./etcd-keys.ts"
import { decodeRevision, encodeCompaction, encodePut, type WatchEvent } from "./etcd-messages.ts"
import { Room } from "./etcd-room.ts"
import {
  changeOf,
  HistoryGone,
  type Replacing,
  type WatchBatch,
  watchGathered,
  watchRange,
  withReplaced,
} from "./etcd-watch.ts"
import { BATCH_BYTES_MAX, type Span } from "./kine.ts"
import { refuseFuture } from "./revisions.ts"
import type { Change, WatchOptions } from "./store.ts"
import { Wakers } from "./wakers.ts"
import { sizeBytes, type Stretch, WatchHub } from "./watch-hub.ts"

const RETRY_MS = 200
const TIMEOUT_MS = 10_000
const CATCH_UP_TIMEOUT_MS = 60_000
const COMPACT_TIMEOUT_MS = 60_000

export interface HistoryOptions {
  /** The revision of the mark. */
  readonly mark: number
  readonly warn: (message: string, error: unknown) => void
}

export async function putMark(channel: EtcdChannel): Promise<number> {
  const message = encodePut({ key: MARK, value: "" })
  return decodeRevision(await channel.call("/etcdserverpb.KV/Put", message, { isRepeatable: true }))
}

/** The newest revision of all. */
export const newestRevision = async (channel: EtcdChannel): Promise<number> =>
  (await range(channel, { key: MARK, countOnly: true })).revision

export class EtcdHistory {
  readonly #channel: EtcdChannel
  readonly #warn: HistoryOptions["warn"]
  readonly #room = new Room()
  readonly #hub: WatchHub
  readonly #recordWakers = new Wakers()
  readonly #positionWakers = new Wakers()
  readonly #stop = new AbortController()
  readonly #followed: Promise<void>
  /** Every event up to here was told. */
  #position: number
  /** The newest revision known to be that of an event. */
  #lastEvent: number
  /** As far as this store has seen. */
  #compacted = 0

  constructor(channel: EtcdChannel, { mark, warn }: HistoryOptions) {
    this.#channel = channel
    this.#warn = warn
    this.#position = mark
    this.#lastEvent = mark
    this.#hub = new WatchHub(
      {
        compacted: () => this.#compacted,
        reach: async (revision) => refuseFuture(revision, await newestRevision(channel)),
        read: (prefix, span) => this.#stretch(prefix, span),
        comesBack: true,
      },
      mark,
    )
    this.#followed = this.#follow()
  }

  /** Every event up to here was told. */
  get position(): number {
    return this.#position
  }

  watch(options: WatchOptions): AsyncIterable<readonly Change[]> {
    return this.#hub.watch(options)
  }

  watchRecords(signal: AbortSignal): AsyncIterable<void> {
    return this.#recordWakers.wakes(signal)
  }

  /** etcd says it only to a watch from the beginning; one that may begin there meets the first mark. */
  async compactedRevision(): Promise<number> {
    const from = { range: { key: MARK }, after: 0, signal: this.#inTime() }
    try {
      for await (const _ of watchRange(this.#channel, from)) return 0
    } catch (error) {
      if (!(error instanceof HistoryGone)) throw error
      this.#compactedTo(error.revision)
      return error.revision
    }
    throw this.#late()
  }

  /** Resolves when all that was committed before the call was told. */
  async caughtUp(): Promise<void> {
    const upTo = await putMark(this.#channel)
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(CATCH_UP_TIMEOUT_MS)])
    if (this.#position < upTo)
      for await (const _ of this.#positionWakers.wakes(signal)) if (this.#position >= upTo) break
    if (this.#position < upTo) throw this.#late()
  }

  /** False where a compaction had come as far before. `isPhysical`: returns when nothing of it is left in the database; but where it is
   *  false, one that was begun before, by another server or in a call that took too long, may be at work still. */
  async compact(revision: number, { isPhysical = false } = {}): Promise<boolean> {
    const message = encodeCompaction(revision, { isPhysical })
    const options = { isRepeatable: true, ...(isPhysical && { timeoutMs: COMPACT_TIMEOUT_MS }) }
    try {
      await this.#channel.call("/etcdserverpb.KV/Compact", message, options)
    } catch (error) {
      if (!(error instanceof WasCompacted)) throw error
      this.#compactedTo(revision)
      return false
    }
    this.#compactedTo(revision)
    return true
  }

  /** What happened to a key from a revision on until now. */
  async eventsOf(key: string, after: number): Promise<Replacing[]> {
    const upTo = await putMark(this.#channel)
    this.#lastEvent = Math.max(this.#lastEvent, upTo)
    const events: WatchEvent[] = []
    for await (const batch of this.#read({ after, upTo }))
      events.push(...batch.events.filter(({ entry }) => entry.key === key))
    return this.#allReplacing(events)
  }

  /** To be called before the channel closes. */
  stop(): void {
    this.#stop.abort()
    this.#hub.close()
    this.#recordWakers.close()
    this.#positionWakers.close()
  }

  /** Resolves when nothing is followed any more. */
  get stopped(): Promise<void> {
    return this.#followed
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop
    let failures = 0
    while (!signal.aborted) {
      try {
        await this.#lookForRestore()
        const from = { range: FOLLOWED, after: this.#position, signal }
        for await (const batch of watchGathered(this.#channel, from)) {
          await this.#tell(batch)
          failures = 0
        }
      } catch (error) {
        if (error instanceof HistoryGone) this.#skip(error.revision)
        else if (!signal.aborted) {
          failures += 1
          if (failures === 1) this.#warn("etcd cannot be followed for now", error)
          await sleep(RETRY_MS)
        }
      }
    }
  }

  /** etcd restored from a backup goes on at an older revision, and would tell of nothing until it is past ours. */
  async #lookForRestore(): Promise<void> {
    if ((await newestRevision(this.#channel)) >= this.#position) return
    this.#position = await putMark(this.#channel)
    this.#lastEvent = this.#position
    this.#compacted = 0
    this.#room.restart()
    this.#hub.restart(this.#position)
    this.#recordWakers.wake()
  }

  async #tell(batch: WatchBatch): Promise<void> {
    const { events, upTo } = batch
    const values = valuesOf(events)
    const keys = values.map(({ entry }) => entry.key)
    // What nobody waits for need not be asked for, nor remembered.
    const isWatched = values.length === 0 || this.#hub.isWatched(keys)
    const changes = isWatched ? (await this.#allReplacing(values)).map(changeOf) : []
    this.#position = upTo
    this.#lastEvent = events.at(-1)?.entry.modified ?? this.#lastEvent
    this.#positionWakers.wake()
    this.#hub.publish(changes, upTo)
    if (!isWatched) this.#hub.forget()
    if (events.some(({ entry }) => entry.key.startsWith(OWN))) this.#recordWakers.wake()
    const forgotten = this.#room.told(batch)
    if (forgotten !== undefined) void this.#forget(forgotten)
  }

  #compactedTo(revision: number): void {
    this.#compacted = Math.max(this.#compacted, revision)
  }

  async #forget(revision: number): Promise<void> {
    try {
      await this.compact(revision)
    } catch (error) {
      if (this.#stop.signal.aborted) return
      this.#warn("etcd's history could not be compacted for now", error)
    }
  }

  #skip(revision: number): void {
    this.#position = revision
    this.#positionWakers.wake()
    this.#compactedTo(revision)
    this.#hub.skip(revision)
    this.#recordWakers.wake()
  }

  /** For a watcher that stands further back than what is remembered. */
  async #stretch(prefix: string, span: Span): Promise<Stretch> {
    try {
      const { changes, upTo } = await this.#changes(prefix, span)
      return { changes, upTo, compacted: this.#compacted }
    } catch (error) {
      if (!(error instanceof HistoryGone)) throw error
      this.#compactedTo(error.revision)
      return { changes: [], upTo: span.after, compacted: error.revision }
    }
  }

  /** Ends early where it is much, with what they replaced: never within a revision. */
  async #changes(prefix: string, span: Span): Promise<{ changes: Change[]; upTo: number }> {
    const changes: Change[] = []
    let roomBytes = BATCH_BYTES_MAX
    let { upTo } = span
    for await (const batch of this.#read(span)) {
      upTo = batch.upTo
      const meant = valuesOf(batch.events).filter(({ entry }) => entry.key.startsWith(prefix))
      for await (const some of this.#replacing(meant))
        for (const change of some.map(changeOf)) {
          const last = changes.at(-1)?.revision ?? change.revision
          if (roomBytes <= 0 && last !== change.revision) return { changes, upTo: last }
          changes.push(change)
          roomBytes -= sizeBytes(change)
        }
      if (roomBytes <= 0) break
    }
    return { changes, upTo }
  }

  /** All events of a span, and more where they came together. */
  async *#read({ after, upTo }: Span): AsyncGenerator<WatchBatch> {
    const end = Math.min(upTo, this.#lastEvent)
    if (end <= after) {
      yield { events: [], upTo }
      return
    }
    const from = { range: FOLLOWED, after, signal: this.#inTime() }
    for await (const batch of watchRange(this.#channel, from)) {
      const isOver = batch.upTo >= end
      yield isOver ? { ...batch, upTo: Math.max(upTo, batch.upTo) } : batch
      if (isOver) return
    }
    throw this.#late()
  }

  /** Throws {@link HistoryGone} where a compaction overtook them: what they replaced is gone, though the events are not. */
  async *#replacing(events: readonly WatchEvent[]): AsyncGenerator<Replacing[]> {
    try {
      yield* withReplaced(this.#channel, events)
    } catch (error) {
      if (!(error instanceof WasCompacted)) throw error
      throw new HistoryGone(await this.compactedRevision())
    }
  }

  async #allReplacing(events: readonly WatchEvent[]): Promise<Replacing[]> {
    return (await Array.fromAsync(this.#replacing(events))).flat()
  }

  #inTime(): AbortSignal {
    return AbortSignal.any([this.#stop.signal, AbortSignal.timeout(TIMEOUT_MS)])
  }

  #late(): KnownError {
    const { where } = this.#channel
    return new KnownError("StoreUnavailable", `${where}: history was not told in time`)
  }
}

const valuesOf = (events: readonly WatchEvent[]): WatchEvent[] =>
  events.filter(({ entry }) => entry.key.startsWith(VALUES))
