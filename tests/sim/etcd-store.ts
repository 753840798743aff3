/** A store on an etcd in memory: what src/store/etcd.ts does, without the messages. */
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown, KnownError } from "../../src/errors.ts"
import { FENCE, MARK, OWN, VALUES } from "../../src/store/etcd-keys.ts"
import { rewriteAll } from "../../src/store/etcd-rewrite.ts"
import { HistoryGone } from "../../src/store/etcd-watch.ts"
import { Expiry, systemSchedule } from "../../src/store/expiry.ts"
import { change, creation, deletion, type EngineWrite } from "../../src/store/engine-write.ts"
import { AnswerLost, lookFor, unknown, type WrittenRow } from "../../src/store/lost-answer.ts"
import { compactedAway, refuseFuture } from "../../src/store/revisions.ts"
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
  RowBatch,
  RowRange,
  StepResult,
  Store,
  StoredRecord,
  Update,
  WatchOptions,
  WriteResult,
} from "../../src/store/store.ts"
import { Wakers } from "../../src/store/wakers.ts"
import { type Stretch, WatchHub } from "../../src/store/watch-hub.ts"
import { type Ask, atOnce, type Steps } from "./ask.ts"
import { COMPARES_ALL, type Compares } from "./compares.ts"
import type { EtcdHistory, Put, Version } from "./etcd-history.ts"

const RETRY_MS = 200
const OTHERS_BEHIND_MS = 250
const CATCH_UP_TIMEOUT_MS = 60_000

export async function openEtcdStore(
  history: EtcdHistory,
  ask: Ask,
  { rowsMax = Number.POSITIVE_INFINITY, compares = COMPARES_ALL } = {},
): Promise<Store> {
  const mark = await ask(
    "put the mark",
    atOnce(() => putMark(history)),
  )
  return new MemoryEtcd({ history, ask, mark, rowsMax, compares })
}

const putMark = (history: EtcdHistory): number =>
  history.put([{ key: MARK, value: Buffer.alloc(0) }])

class MemoryEtcd implements Store {
  readonly #history: EtcdHistory
  readonly #ask: Ask
  readonly #rowsMax: number
  readonly #compares: Compares
  readonly #hub: WatchHub
  readonly #recordWakers = new Wakers()
  readonly #expiry = new Expiry({
    schedule: systemSchedule,
    remove: (key, expected) => this.delete({ key, expected, fence: undefined }),
    warn: () => {},
  })
  /** Every event up to here was told. */
  #position: number
  /** As far as this store has seen. */
  #compacted = 0
  #closed = false

  constructor(of: {
    history: EtcdHistory
    ask: Ask
    mark: number
    rowsMax: number
    compares: Compares
  }) {
    const { history, ask, mark } = of
    this.#rowsMax = of.rowsMax
    this.#compares = of.compares
    this.#history = history
    this.#ask = ask
    this.#position = mark
    const log = {
      compacted: () => this.#compacted,
      reach: async (revision: number) => refuseFuture(revision, await this.revision()),
      read: (prefix: string, span: { after: number; upTo: number }) => this.#stretch(prefix, span),
      comesBack: true as const,
    }
    this.#hub = new WatchHub(log, mark)
    void this.#follow()
  }

  get(key: string, revision?: number) {
    return this.#at(`read ${key}`, () => {
      const at = this.#readable(revision)
      const found =
        revision === undefined
          ? this.#history.live(key)
          : this.#history.under(key, { revision: at }).find((one) => one.key === key)
      return found && entryOf(found)
    })
  }

  list(range: ListQuery): Promise<Page> {
    const { prefix, after = "", limit = Number.MAX_SAFE_INTEGER } = range
    return this.#at(`list ${prefix}`, () => {
      const revision = this.#readable(range.revision)
      const found = this.#history.under(prefix, { after, revision })
      const entries = found.slice(0, limit).map(entryOf)
      return { entries, revision, remaining: found.length - entries.length }
    })
  }

  count(prefix: string): Promise<number> {
    return this.#at(`count ${prefix}`, () => this.#history.under(prefix).length)
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

  revision(): Promise<number> {
    return this.#at("revision", () => this.#history.revision)
  }

  async compactedRevision(): Promise<number> {
    const revision = await this.#at("compacted revision", () => this.#history.compacted)
    this.#compactedTo(revision)
    return revision
  }

  async compact(revision: number): Promise<void> {
    await this.#at(`compact to ${revision}`, () => {
      refuseFuture(revision, this.#history.revision)
      if (revision > this.#history.compacted) this.#history.compact(revision)
    })
    this.#compactedTo(revision)
  }

  record(name: RecordName): Promise<StoredRecord | undefined> {
    return this.#at(`read the ${name}`, () => recordOf(this.#history, name))
  }

  fence(): Promise<string | undefined> {
    return this.#at("read the fence", () => fenceOf(this.#history))
  }

  async step(step: RecordStep): Promise<StepResult> {
    const puts = putsOf(step)
    const known = this.#position
    const what = `put ${puts.map(({ key }) => key.slice(OWN.length)).join(" and ") || "nothing"}`
    try {
      return await this.#at(what, () => stepped(this.#history, step))
    } catch (error) {
      if (error instanceof AnswerLost) return this.#lookForStep(step, known, error)
      throw error
    }
  }

  watchRecords(signal: AbortSignal): AsyncIterable<void> {
    return this.#recordWakers.wakes(signal)
  }

  /** A cursor is `<revision to read at, 0: the newest>:<last key>`. */
  rows({ cursor, upTo, limit }: RowRange & { limit: number }): Promise<RowBatch> {
    const { at, last } = placeOf(cursor)
    return this.#at(`rows above ${last || "the first"}`, () => {
      const revision = this.#readable(at === 0 ? undefined : at)
      const isMeant = (row: Version) => upTo === undefined || row.revision <= upTo
      const found = this.#history.under(VALUES, { after: last, revision }).filter(isMeant)
      const rows = found.slice(0, Math.min(limit, this.#rowsMax)).map(rowOf)
      const key = rows.at(-1)?.key
      if (key === undefined) return { rows: [], cursor }
      return { rows, cursor: `${upTo === undefined ? revision : at}:${key}` }
    })
  }

  countRows({ cursor }: RowRange): Promise<number> {
    const { last: after } = placeOf(cursor)
    return this.#at("count rows", () => this.#history.under(VALUES, { after }).length)
  }

  rewrite(fence: string, replacements: readonly Replacement[]) {
    const live = replacements.filter(({ column }) => column === "value")
    return rewriteAll(live, (batch) =>
      this.#at(`rewrite ${batch.length}`, () => {
        const { bytes, fence: isFenced } = this.#compares
        if (isFenced && fenceOf(this.#history) !== fence) return "fenced"
        const isLost = ({ key, revision }: Replacement) =>
          this.#history.live(key)?.revision !== revision
        if (bytes && batch.some(isLost)) return "lost"
        this.#history.put(batch.map(({ key, replacement: value }) => ({ key, value })))
        return "done"
      }),
    )
  }

  async scrub(): Promise<void> {
    const revision = await this.revision()
    await this.#caughtUp()
    await sleep(OTHERS_BEHIND_MS)
    await this.compact(revision)
  }

  snapshot(): never {
    throw new KnownError("UsageInvalid", "an etcd in memory has no file")
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#expiry.close()
    this.#hub.close()
    this.#recordWakers.close()
  }

  async #at<T>(what: string, act: () => T): Promise<T> {
    if (this.#closed) throw new KnownError("StoreUnavailable", "the store is closed")
    return await this.#ask(what, atOnce(act))
  }

  #readable(revision = this.#history.revision): number {
    refuseFuture(revision, this.#history.revision)
    const { compacted } = this.#history
    if (revision < compacted) throw compactedAway(revision, compacted)
    return revision
  }

  async #write(write: EngineWrite): Promise<WriteResult> {
    const { kind, key, expected, ttlSeconds } = write
    const known = this.#position
    try {
      const what = `${kind} ${key} at ${expected}`
      const result = await this.#at(what, () => written(this.#history, write))
      if (result.outcome === "done")
        this.#expiry.track({ key, ttlSeconds, revision: result.revision })
      return result
    } catch (error) {
      if (!(error instanceof AnswerLost)) throw error
      return lookFor(write, this.#lookAt(key, known), { lost: error, warn: () => {} })
    }
  }

  #lookAt(key: string, after: number) {
    return {
      rows: async () => (await this.#eventsOf(key, after)).map(writtenRow),
      live: () => this.get(key),
      fence: () => this.fence(),
    }
  }

  async #eventsOf(key: string, after: number): Promise<Replacing[]> {
    const upTo = await this.#putMark()
    const events = await this.#at(`look for ${key}`, () =>
      eventsOf(this.#history, { after, upTo }).filter((one) => one.key === key),
    )
    return this.#replacing(events)
  }

  /** What they replaced is asked for after they were told: a compaction may have taken it by then. */
  async #replacing(events: readonly Version[]): Promise<Replacing[]> {
    if (events.every(isCreate)) return events.map((event) => ({ event, replaced: undefined }))
    try {
      return await this.#at(`what ${events.length} replaced`, () =>
        events.map((event) => ({ event, replaced: replacedBy(this.#history, event) })),
      )
    } catch (error) {
      if (!isKnown(error, "Compacted")) throw error
      throw new HistoryGone(await this.compactedRevision())
    }
  }

  async #lookForStep(step: RecordStep, known: number, lost: AnswerLost): Promise<StepResult> {
    const [put] = putsOf(step)
    if (put?.value === undefined) throw unknown("a change of the records", lost)
    const bytes = Buffer.from(put.value)
    const version = step.compare.find(({ name }) => OWN + name === put.key)?.version
    const isInPlace = (replaced: Version | undefined) =>
      version === undefined || (replaced ? versionOf(replaced) : null) === version
    const events = await this.#eventsOf(put.key, known).catch(() => [])
    const ours = events.find(
      ({ event, replaced }) => event.value?.equals(bytes) === true && isInPlace(replaced),
    )
    if (ours === undefined) throw unknown("a change of the records", lost)
    return { outcome: "done", revision: ours.event.revision }
  }

  #putMark(): Promise<number> {
    return this.#at("put the mark", () => putMark(this.#history))
  }

  /** Resolves when all that was committed before the call was told. */
  async #caughtUp(): Promise<void> {
    const upTo = await this.#putMark()
    for (let leftMs = CATCH_UP_TIMEOUT_MS; this.#position < upTo; leftMs -= RETRY_MS) {
      if (leftMs <= 0) throw new KnownError("StoreUnavailable", "history was not told in time")
      await sleep(RETRY_MS)
    }
  }

  /** Tells the watchers what happened, as etcd's own watch does. */
  async #follow(): Promise<void> {
    while (!this.#closed) {
      try {
        const isOver = () => this.#closed
        await this.#tell(await this.#ask("watch", watching(this.#history, this.#position, isOver)))
      } catch (error) {
        if (error instanceof HistoryGone) this.#skip(error.revision)
        else if (isKnown(error)) await sleep(RETRY_MS)
        else throw error
      }
    }
  }

  async #tell({ events, upTo }: Told): Promise<void> {
    if (upTo < this.#position) return this.#beginAnew(upTo)
    const values = events.filter(({ key }) => key.startsWith(VALUES))
    const keys = values.map(({ key }) => key)
    // What nobody waits for is not asked for.
    const isWatched = values.length === 0 || this.#hub.isWatched(keys)
    const changes = isWatched ? (await this.#replacing(values)).map(changeOf) : []
    this.#position = upTo
    this.#hub.publish(changes, upTo)
    if (!isWatched) this.#hub.forget()
    if (events.some(({ key }) => key.startsWith(OWN))) this.#recordWakers.wake()
  }

  #skip(revision: number): void {
    this.#position = revision
    this.#compactedTo(revision)
    this.#hub.skip(revision)
    this.#recordWakers.wake()
  }

  #beginAnew(revision: number): void {
    this.#position = revision
    this.#compacted = 0
    this.#hub.restart(revision)
    this.#recordWakers.wake()
  }

  #compactedTo(revision: number): void {
    this.#compacted = Math.max(this.#compacted, revision)
  }

  /** For a watcher that stands further back than what is remembered. */
  async #stretch(prefix: string, span: Span): Promise<Stretch> {
    try {
      const events = await this.#at("events", () => eventsOf(this.#history, span))
      const meant = events.filter(({ key }) => key.startsWith(prefix))
      const changes = (await this.#replacing(meant)).map(changeOf)
      return { changes, upTo: span.upTo, compacted: this.#compacted }
    } catch (error) {
      if (!(error instanceof HistoryGone)) throw error
      this.#compactedTo(error.revision)
      return { changes: [], upTo: span.after, compacted: error.revision }
    }
  }
}

interface Span {
  readonly after: number
  readonly upTo: number
}

interface Told {
  readonly events: readonly Version[]
  readonly upTo: number
}

/** An event, and what it replaced: of a create nothing. */
interface Replacing {
  readonly event: Version
  readonly replaced: Version | undefined
}

/** Waits for an event that was not told. */
function* watching(history: EtcdHistory, after: number, isOver: () => boolean): Steps<Told> {
  yield () => history.revision !== after || isOver()
  const { revision: upTo } = history
  return { events: upTo < after ? [] : eventsOf(history, { after, upTo }), upTo }
}

/** Throws {@link HistoryGone}. */
function eventsOf(history: EtcdHistory, { after, upTo }: Span): Version[] {
  if (after < history.compacted) throw new HistoryGone(history.compacted)
  return history.versions.filter(({ revision }) => revision > after && revision <= upTo)
}

const isCreate = ({ value, revision, createRevision }: Version): boolean =>
  value !== undefined && revision === createRevision

/** Throws Compacted where that was compacted, FutureRevision where history is another one. */
function replacedBy(history: EtcdHistory, event: Version): Version | undefined {
  if (isCreate(event)) return undefined
  const { compacted, revision } = history
  const before = event.revision - 1
  refuseFuture(before, revision)
  if (before < compacted) throw compactedAway(before, compacted)
  return history.before(event)
}

function written(history: EtcdHistory, write: EngineWrite): WriteResult {
  const { key, fence, expected, value } = write
  if (fence !== undefined && fenceOf(history) !== fence) return { outcome: "fenced" }
  const current = history.live(key)
  if ((current?.revision ?? 0) !== expected)
    return { outcome: "conflict", current: current && entryOf(current) }
  if (write.kind !== "create" && current === undefined)
    return { outcome: "conflict", current: undefined }
  return { outcome: "done", revision: history.put([{ key, value: value ?? undefined }]) }
}

function stepped(history: EtcdHistory, step: RecordStep): StepResult {
  const isAt = ({ name, version }: RecordStep["compare"][number]) =>
    (recordOf(history, name)?.version ?? null) === version
  const isUnderFence =
    step.fence === undefined || (fenceOf(history) ?? null) === step.fence.expected
  if (!step.compare.every(isAt) || !isUnderFence) return { outcome: "conflict" }
  const puts = putsOf(step)
  return { outcome: "done", revision: puts.length === 0 ? history.revision : history.put(puts) }
}

const putsOf = ({ put = [], fence }: RecordStep): Put[] => [
  ...put.map(({ name, value }) => ({ key: OWN + name, value })),
  ...(fence?.next === undefined ? [] : [{ key: FENCE, value: Buffer.from(fence.next) }]),
]

export const fenceOf = (history: EtcdHistory): string | undefined =>
  history.live(FENCE)?.value?.toString()

export function recordOf(history: EtcdHistory, name: RecordName): StoredRecord | undefined {
  const found = history.live(OWN + name)
  if (found?.value === undefined) return undefined
  return { value: found.value, version: versionOf(found) }
}

const versionOf = ({ createRevision, revision }: Version): string => `${createRevision}/${revision}`

function placeOf(cursor: string): { at: number; last: string } {
  const colon = cursor.indexOf(":")
  return { at: Number(cursor.slice(0, Math.max(0, colon))), last: cursor.slice(colon + 1) }
}

const entryOf = ({ key, value, revision, createRevision }: Version): Entry => ({
  key,
  value: value ?? never(),
  revision,
  createRevision,
})

const rowOf = ({ revision, key, value }: Version) => ({ revision, key, value, previous: undefined })

const writtenRow = ({ event, replaced }: Replacing): WrittenRow => ({
  revision: event.revision,
  created: isCreate(event),
  deleted: event.value === undefined,
  replaces: replaced?.revision ?? 0,
  value: event.value,
})

function changeOf({ event, replaced }: Replacing): Change {
  const { key, revision, value } = event
  if (value !== undefined && isCreate(event)) return { type: "create", key, revision, value }
  const before = replaced?.value === undefined ? {} : { previous: replaced.value }
  return value === undefined
    ? { type: "delete", key, revision, ...before }
    : { type: "update", key, revision, value, ...before }
}

function never(): never {
  throw new Error("etcd in memory lost a version")
}
