/** A store on an etcd in memory: what src/store/etcd.ts does, without the messages. */
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown, KnownError } from "../../src/errors.ts"
import { FENCE, MARK, OWN, VALUES } from "../../src/store/etcd-keys.ts"
import { rewriteAll } from "../../src/store/etcd-rewrite.ts"
import { Expiry, systemSchedule } from "../../src/store/expiry.ts"
import { AnswerLost, type EngineWrite, lookFor, unknown } from "../../src/store/lost-answer.ts"
import { compactedAway, refuseFuture } from "../../src/store/revisions.ts"
import type {
  Change,
  Create,
  Delete,
  Entry,
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
import type { EtcdHistory, Put, Version } from "./etcd-history.ts"

const RETRY_MS = 200

/** `rowsMax`: in one batch, as if they were large. */
export async function openEtcdStore(
  history: EtcdHistory,
  ask: Ask,
  { rowsMax = Number.POSITIVE_INFINITY } = {},
): Promise<Store> {
  const mark = await ask(
    "put the mark",
    atOnce(() => putMark(history)),
  )
  return new MemoryEtcd({ history, ask, mark, rowsMax })
}

const putMark = (history: EtcdHistory): number =>
  history.put([{ key: MARK, value: Buffer.alloc(0) }])

class MemoryEtcd implements Store {
  readonly #history: EtcdHistory
  readonly #ask: Ask
  readonly #rowsMax: number
  readonly #hub: WatchHub
  readonly #recordWakers = new Wakers()
  readonly #expiry = new Expiry(systemSchedule, (key, revision) => void this.#expire(key, revision))
  /** Every event up to here was told. */
  #position: number
  #closed = false

  constructor(of: { history: EtcdHistory; ask: Ask; mark: number; rowsMax: number }) {
    const { history, ask, mark } = of
    this.#rowsMax = of.rowsMax
    this.#history = history
    this.#ask = ask
    this.#position = mark
    const log = {
      compacted: () => this.compactedRevision(),
      reach: async (revision: number) => refuseFuture(revision, await this.revision()),
      read: (prefix: string, span: { after: number; upTo: number }) =>
        this.#untilThere(() => this.#at("events", () => stretchOf(history, prefix, span))),
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
      return { entry: found && entryOf(found), revision: at }
    })
  }

  list(range: Parameters<Store["list"]>[0]): Promise<Page> {
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

  create({ key, fence, value, ttlSeconds = 0 }: Create): Promise<WriteResult> {
    const bytes = Buffer.from(value)
    return this.#write({ kind: "create", key, fence, expected: 0, value: bytes, ttlSeconds })
  }

  update({ key, fence, expected, value, ttlSeconds = 0 }: Update): Promise<WriteResult> {
    const bytes = Buffer.from(value)
    return this.#write({ kind: "update", key, fence, expected, value: bytes, ttlSeconds })
  }

  delete({ key, fence, expected }: Delete): Promise<WriteResult> {
    return this.#write({ kind: "delete", key, fence, expected, value: null, ttlSeconds: 0 })
  }

  watch(options: WatchOptions): AsyncIterable<readonly Change[]> {
    return this.#hub.watch(options)
  }

  revision(): Promise<number> {
    return this.#at("revision", () => this.#history.revision)
  }

  compactedRevision(): Promise<number> {
    return this.#at("compacted revision", () => this.#history.compacted)
  }

  compact(revision: number): Promise<void> {
    return this.#at(`compact to ${revision}`, () => {
      refuseFuture(revision, this.#history.revision)
      if (revision > this.#history.compacted) this.#history.compact(revision)
    })
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
        if (fenceOf(this.#history) !== fence) return "fenced"
        if (batch.some(({ key, revision }) => this.#history.live(key)?.revision !== revision))
          return "lost"
        this.#history.put(batch.map(({ key, replacement: value }) => ({ key, value })))
        return "done"
      }),
    )
  }

  async scrub(): Promise<void> {
    await this.compact(await this.revision())
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
      rows: () => this.#eventsOf(key, after),
      live: async () => (await this.get(key)).entry,
      fence: () => this.fence(),
    }
  }

  #eventsOf(key: string, after: number) {
    return this.#at(`look for ${key}`, () => {
      const { compacted } = this.#history
      if (after < compacted) throw compactedAway(after, compacted)
      const events = this.#history.versions.filter((one) => one.key === key && one.revision > after)
      return events.map(({ revision, value, createRevision }, index) => ({
        revision,
        value,
        created: revision === createRevision && value !== undefined,
        deleted: value === undefined,
        replaces:
          (events[index - 1] ?? this.#history.before(events[index] ?? never()))?.revision ?? 0,
      }))
    })
  }

  async #lookForStep(step: RecordStep, known: number, lost: AnswerLost): Promise<StepResult> {
    const [put] = putsOf(step)
    if (put?.value !== undefined) {
      const bytes = Buffer.from(put.value)
      const events = await this.#eventsOf(put.key, known).catch(() => [])
      const ours = events.find(({ value }) => value?.equals(bytes))
      if (ours !== undefined) return { outcome: "done", revision: ours.revision }
    }
    throw unknown("a change of the records", lost)
  }

  /** Tells the watchers what happened, as etcd's own watch does. */
  async #follow(): Promise<void> {
    while (!this.#closed) {
      try {
        const isOver = () => this.#closed
        this.#tell(await this.#ask("watch", watching(this.#history, this.#position, isOver)))
      } catch (error) {
        if (!isKnown(error)) throw error
        await sleep(RETRY_MS)
      }
    }
  }

  #tell({ changes, isRecord, upTo, compacted }: Told): void {
    const before = this.#position
    this.#position = upTo
    if (upTo < before) this.#hub.restart(upTo)
    else if (before < compacted) this.#hub.skip(upTo)
    else this.#hub.publish(changes, upTo)
    if (isRecord || upTo < before) this.#recordWakers.wake()
  }

  async #untilThere<T>(read: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await read()
      } catch (error) {
        if (this.#closed || !isKnown(error, "StoreUnavailable")) throw error
        await sleep(RETRY_MS)
      }
    }
  }

  async #expire(key: string, expected: number): Promise<void> {
    await this.delete({ key, expected, fence: undefined }).catch(() => {})
  }
}

interface Told {
  readonly changes: Change[]
  readonly isRecord: boolean
  readonly upTo: number
  readonly compacted: number
}

/** Waits for an event that was not told. */
function* watching(history: EtcdHistory, after: number, isOver: () => boolean): Steps<Told> {
  yield () => history.revision !== after || isOver()
  const { revision: upTo, compacted } = history
  if (after < compacted) return { changes: [], isRecord: true, upTo, compacted }
  const events = history.versions.filter(({ revision }) => revision > after)
  const values = events.filter(({ key }) => key.startsWith(VALUES))
  const changes = values.map((version) => changeOf(history, version))
  return { changes, isRecord: events.some(({ key }) => key.startsWith(OWN)), upTo, compacted }
}

function stretchOf(
  history: EtcdHistory,
  prefix: string,
  { after, upTo }: { after: number; upTo: number },
): Stretch {
  const isMeant = ({ key, revision }: Version) =>
    key.startsWith(prefix) && revision > after && revision <= upTo
  const { compacted } = history
  const found = after < compacted ? [] : history.versions.filter(isMeant)
  return { changes: found.map((one) => changeOf(history, one)), upTo, compacted }
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
  return { value: found.value, version: `${found.createRevision}/${found.revision}` }
}

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

function changeOf(history: EtcdHistory, version: Version): Change {
  const { key, revision, value, createRevision } = version
  if (value !== undefined && revision === createRevision)
    return { type: "create", key, revision, value }
  const previous = history.before(version)?.value ?? never()
  return value === undefined
    ? { type: "delete", key, revision, previous }
    : { type: "update", key, revision, value, previous }
}

function never(): never {
  throw new Error("etcd in memory lost a version")
}
