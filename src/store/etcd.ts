/** The datastore on etcd 3.4 or later. Values lie under their own keys as kube-apiserver stores them; the records, the
 *  fence and a mark under /keyturn/, in the same history:
 *
 *    /keyturn/keyring, /keyturn/operation   the records; their version is what etcd says of them
 *    /keyturn/fence                         the fence's id
 *    /keyturn/mark                          empty; put where the end of history must be an event
 *
 *  etcd is linearizable and gives a revision as it commits, so what it answers at is the newest revision of all. One
 *  watch a store follows both ranges and tells all watchers. */
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown, KnownError } from "../errors.ts"
import { EtcdChannel, type ChannelOptions } from "./etcd-channel.ts"
import { IsFuture, LeaseGone, WasCompacted } from "./etcd-errors.ts"
import { Leases } from "./etcd-leases.ts"
import {
  type Compare,
  decodeRanged,
  decodeRevision,
  decodeTxn,
  decodeVersion,
  encodeCompaction,
  encodeLeaseGrant,
  encodePut,
  encodeRange,
  encodeTxn,
  type KeySpan,
  type KeyValue,
  type Operation,
  type RangeAsked,
  type Ranged,
  type Txn,
  type TxnAnswer,
  type WatchEvent,
} from "./etcd-messages.ts"
import { rewriteAll } from "./etcd-rewrite.ts"
import { changeOf, HistoryGone, type WatchBatch, watchRange } from "./etcd-watch.ts"
import { BATCH_BYTES_MAX } from "./kine.ts"
import {
  AnswerLost,
  type EngineWrite,
  unknown,
  whatBecameOf,
  type WrittenRow,
} from "./lost-answer.ts"
import { compactedAway, futureRevision } from "./revisions.ts"
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
} from "./store.ts"
import { readTlsFiles, type TlsFiles } from "./tls-files.ts"
import { Wakers } from "./wakers.ts"
import { type Stretch, WatchHub } from "./watch-hub.ts"

const OWN = "/keyturn/"
const FENCE = `${OWN}fence`
const MARK = `${OWN}mark`
const VALUES = "/registry/"
/** Ours and the values, and what lies between them. */
const FOLLOWED: KeySpan = { key: OWN, end: endOf(VALUES) }

const RETRY_MS = 200
const COMPACTION_TIMEOUT_MS = 60_000
const HISTORY_TIMEOUT_MS = 10_000
/** What a row is taken to weigh before one was seen. */
const ROW_BYTES = 64 << 10
const OLDEST = [3, 4] as const

export interface EtcdOptions extends Pick<ChannelOptions, "endpoints"> {
  readonly tls?: TlsFiles
  /** Called with what nobody else hears of: a failure in the background. */
  readonly warn?: (message: string, error: unknown) => void
}

/** Throws KnownError ConfigInvalid where etcd is too old, StoreUnavailable where none answers. */
export async function openEtcd({ endpoints, tls, warn }: EtcdOptions): Promise<Store> {
  const channel = new EtcdChannel({ endpoints, ...(tls && { tls: readTlsFiles(tls, "etcd") }) })
  try {
    await refuseOld(channel)
    return new EtcdStore(channel, { mark: await putMark(channel), warn: warn ?? (() => {}) })
  } catch (error) {
    channel.close()
    throw error
  }
}

async function refuseOld(channel: EtcdChannel): Promise<void> {
  const empty = Buffer.alloc(0)
  const status = await channel.call("/etcdserverpb.Maintenance/Status", empty, { isRead: true })
  const version = decodeVersion(status)
  const [major = 0, minor = 0] = version.split(".").map(Number)
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return
  const seen = `${channel.where} is etcd ${version}`
  throw new KnownError("ConfigInvalid", `${seen}; ${OLDEST.join(".")} is the oldest served`)
}

const putMark = async (channel: EtcdChannel): Promise<number> =>
  decodeRevision(
    await channel.call("/etcdserverpb.KV/Put", encodePut({ key: MARK, value: "" }), {
      isRead: true, // putting it twice is no harm
    }),
  )

class EtcdStore implements Store {
  readonly #channel: EtcdChannel
  readonly #warn: (message: string, error: unknown) => void
  readonly #hub: WatchHub
  readonly #leases: Leases
  readonly #recordWakers = new Wakers()
  readonly #stop = new AbortController()
  readonly #followed: Promise<void>
  /** Every event up to here was told. */
  #position: number
  /** The newest revision known to be that of an event: a read of history that meets it has met all before it. */
  #lastEvent: number
  /** As far as this store has seen. */
  #compacted = 0
  #rowBytes = ROW_BYTES

  constructor(
    channel: EtcdChannel,
    { mark, warn }: { mark: number; warn: (message: string, error: unknown) => void },
  ) {
    this.#channel = channel
    this.#warn = warn
    this.#position = mark
    this.#lastEvent = mark
    this.#leases = new Leases((lease) =>
      channel.call("/etcdserverpb.Lease/LeaseGrant", encodeLeaseGrant(lease)),
    )
    this.#hub = new WatchHub(
      {
        compacted: () => this.#compacted,
        read: (prefix, span) => this.#untilThere(() => this.#stretch(prefix, span)),
      },
      mark,
    )
    this.#followed = this.#follow()
  }

  async get(
    key: string,
    revision?: number,
  ): Promise<{ entry: Entry | undefined; revision: number }> {
    const { entries, revision: now } = await this.#range({ key, ...at(revision) })
    const [found] = entries
    return { entry: found && entryOf(found), revision: revision ?? now }
  }

  async list(range: Parameters<Store["list"]>[0]): Promise<Page> {
    const { prefix, limit = 0, revision } = range
    const asked = { ...under(prefix, range.after), limit, ...at(revision) }
    const { entries, count, revision: now } = await this.#range(asked)
    return {
      entries: entries.map(entryOf),
      revision: revision ?? now,
      remaining: count - entries.length,
    }
  }

  async count(prefix: string): Promise<number> {
    return (await this.#range({ ...under(prefix), countOnly: true })).count
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

  async revision(): Promise<number> {
    return (await this.#range({ key: MARK, countOnly: true })).revision
  }

  /** etcd says it only to a watch from the beginning; one that begins has met the first mark. */
  async compactedRevision(): Promise<number> {
    try {
      await this.#firstBatch({ key: MARK }, 0)
    } catch (error) {
      if (!(error instanceof HistoryGone)) throw error
      this.#compacted = Math.max(this.#compacted, error.revision)
    }
    return this.#compacted
  }

  async compact(revision: number): Promise<void> {
    await this.#compact(revision)
  }

  async record(name: RecordName): Promise<StoredRecord | undefined> {
    const [found] = (await this.#range({ key: OWN + name })).entries
    return found && { value: found.value, version: versionOf(found) }
  }

  async fence(): Promise<string | undefined> {
    return (await this.#range({ key: FENCE })).entries[0]?.value.toString()
  }

  async step(step: RecordStep): Promise<StepResult> {
    const versions = step.compare.map(({ name, version }) => compareVersion(name, version))
    if (versions.includes(undefined)) return { outcome: "conflict" }
    const known = this.#position
    const compare = [...versions.flatMap((one) => one ?? []), ...compareFence(step.fence?.expected)]
    const answer = await this.#txn({ compare, success: putsOf(step), failure: [] }).catch(
      (error: unknown) => {
        if (error instanceof AnswerLost) return this.#lookForStep(step, known, error)
        throw error
      },
    )
    if (!answer.succeeded) return { outcome: "conflict" }
    return { outcome: "done", revision: answer.revision }
  }

  watchRecords(signal: AbortSignal): AsyncIterable<void> {
    return this.#recordWakers.wakes(signal)
  }

  /** A cursor is `<revision to read at, 0: the newest>:<last key>`. */
  async rows({ cursor, upTo, limit }: RowRange & { limit: number }): Promise<RowBatch> {
    let [revision, last] = placeOf(cursor)
    for (;;) {
      const asked = Math.min(limit, Math.ceil(BATCH_BYTES_MAX / this.#rowBytes))
      const found = await this.#range({ ...under(VALUES, last), limit: asked, revision })
      if (upTo === undefined && revision === 0) revision = found.revision
      const key = found.entries.at(-1)?.key
      if (key === undefined) return { rows: [], cursor }
      this.#rowBytes = averageBytes(found.entries)
      last = key
      const rows = found.entries.map(rowOf).filter((row) => row.revision <= (upTo ?? revision))
      if (rows.length > 0) return { rows, cursor: `${revision}:${last}` }
    }
  }

  async countRows({ cursor }: RowRange): Promise<number> {
    const [, last] = placeOf(cursor)
    return (await this.#range({ ...under(VALUES, last), countOnly: true })).count
  }

  /** Repeating it is no harm, so a lost answer is no "unknown": what was replaced already is passed over. */
  rewrite(
    fence: string,
    replacements: readonly Replacement[],
  ): Promise<{ outcome: "done"; replaced: number } | { outcome: "fenced" }> {
    const live = replacements.filter(({ column }) => column === "value")
    return rewriteAll(live, async (batch) => {
      const { succeeded, ranges } = await this.#txn({
        compare: [
          ...compareFence(fence),
          ...batch.map(({ key, revision: modified }) => ({ key, modified })),
        ],
        success: batch.map(({ key, replacement: value }) => ({
          put: { key, value, keepsLease: true },
        })),
        failure: [{ range: { key: FENCE } }],
      })
      if (succeeded) return "done"
      return ranges[0]?.[0]?.value.toString() === fence ? "lost" : "fenced"
    })
  }

  /** What was replaced lies in history until that is compacted. */
  async scrub(): Promise<void> {
    await this.#compact(await this.revision(), { isPhysical: true })
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#leases.close()
    this.#hub.close()
    this.#recordWakers.close()
    this.#channel.close()
    await this.#followed
  }

  // Reading

  async #range(asked: RangeAsked): Promise<Ranged> {
    try {
      const message = encodeRange(asked)
      const options = { isRead: true }
      return decodeRanged(await this.#channel.call("/etcdserverpb.KV/Range", message, options))
    } catch (error) {
      throw await this.#unreadable(error, asked.revision ?? 0)
    }
  }

  async #unreadable(error: unknown, revision: number): Promise<unknown> {
    if (error instanceof IsFuture) return futureRevision(revision, await this.revision())
    if (error instanceof WasCompacted)
      return compactedAway(revision, await this.compactedRevision())
    return error
  }

  // Writing

  async #write(write: EngineWrite): Promise<WriteResult> {
    const { key, fence, expected, value, ttlSeconds } = write
    const known = this.#position
    const lease = await this.#leases.for(ttlSeconds)
    const done: Operation = value === null ? { remove: { key } } : { put: { key, value, lease } }
    const txn = {
      compare: [{ key, modified: expected }, ...compareFence(fence)],
      success: [done],
      failure: [{ range: { key } }, { range: { key: FENCE } }],
    }
    try {
      const { succeeded, revision, ranges } = await this.#txn(txn)
      if (succeeded) return { outcome: "done", revision }
      const [[current] = [], [stored] = []] = ranges
      if (fence !== undefined && stored?.value.toString() !== fence) return { outcome: "fenced" }
      return { outcome: "conflict", current: current && entryOf(current) }
    } catch (error) {
      if (error instanceof LeaseGone) {
        this.#leases.forget(ttlSeconds)
        return this.#write(write)
      }
      if (!(error instanceof AnswerLost)) throw error
      return this.#lookFor(write, known, error)
    }
  }

  async #txn(txn: Txn): Promise<TxnAnswer> {
    return decodeTxn(await this.#channel.call("/etcdserverpb.KV/Txn", encodeTxn(txn)))
  }

  /** Looks once for a write whose answer was lost. */
  async #lookFor(write: EngineWrite, known: number, lost: AnswerLost): Promise<WriteResult> {
    try {
      const found = await whatBecameOf(write, {
        rows: async () => (await this.#eventsOf(write.key, known)).map(writtenRow),
        live: async () => (await this.get(write.key)).entry,
        fence: () => this.fence(),
      })
      if (found !== undefined) return found
    } catch (error) {
      this.#warn(`${write.key} could not be looked for`, error)
    }
    throw unknown(`the ${write.kind} of ${write.key}`, lost)
  }

  async #lookForStep(
    step: RecordStep,
    known: number,
    lost: AnswerLost,
  ): Promise<Pick<TxnAnswer, "succeeded" | "revision">> {
    try {
      const [put] = putsOf(step)
      if (put === undefined || !("put" in put)) throw lost
      const { key, value } = put.put
      const events = await this.#eventsOf(String(key), known)
      const version = step.compare.find(({ name }) => OWN + name === key)?.version
      const ours = events.find(
        ({ entry, previous }) =>
          entry.value.equals(Buffer.from(value)) &&
          (version === undefined || (previous ? versionOf(previous) : null) === version),
      )
      // Whoever put the same bytes in the same place: the records are as they were to be.
      if (ours !== undefined) return { succeeded: true, revision: ours.entry.modified }
    } catch (error) {
      this.#warn("a change of the records could not be looked for", error)
    }
    throw unknown("a change of the records", lost)
  }

  async #compact(revision: number, { isPhysical = false } = {}): Promise<void> {
    const message = encodeCompaction(revision, { isPhysical })
    const options = isPhysical ? { timeoutMs: COMPACTION_TIMEOUT_MS } : {}
    try {
      await this.#channel.call("/etcdserverpb.KV/Compact", message, { isRead: true, ...options })
    } catch (error) {
      if (!(error instanceof WasCompacted)) throw await this.#unreadable(error, revision)
    }
    this.#compacted = Math.max(this.#compacted, revision)
  }

  // Following

  async #follow(): Promise<void> {
    const { signal } = this.#stop
    let failures = 0
    while (!signal.aborted) {
      try {
        await this.#lookForRestore()
        const from = { range: FOLLOWED, after: this.#position, signal }
        for await (const batch of watchRange(this.#channel, from)) {
          this.#tell(batch)
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
    if ((await this.revision()) >= this.#position) return
    this.#position = await putMark(this.#channel)
    this.#lastEvent = this.#position
    this.#compacted = 0
    this.#hub.restart(this.#position)
    this.#recordWakers.wake()
  }

  #tell({ events, upTo }: WatchBatch): void {
    this.#position = upTo
    if (events.length > 0) this.#lastEvent = upTo
    this.#hub.publish(valuesOf(events).map(changeOf), upTo)
    if (events.some(({ entry }) => entry.key.startsWith(OWN))) this.#recordWakers.wake()
  }

  #skip(revision: number): void {
    this.#position = revision
    this.#compacted = Math.max(this.#compacted, revision)
    this.#hub.skip(revision)
    this.#recordWakers.wake()
  }

  /** For a watcher that stands further back than what is remembered. */
  async #stretch(prefix: string, span: { after: number; upTo: number }): Promise<Stretch> {
    try {
      const { events, upTo } = await this.#history(span)
      const changes = valuesOf(events).map(changeOf)
      const meant = changes.filter(({ key }) => key.startsWith(prefix))
      return { changes: meant, upTo, compacted: this.#compacted }
    } catch (error) {
      if (!(error instanceof HistoryGone)) throw error
      this.#compacted = Math.max(this.#compacted, error.revision)
      return { changes: [], upTo: span.after, compacted: error.revision }
    }
  }

  async #eventsOf(key: string, after: number): Promise<WatchEvent[]> {
    const upTo = await putMark(this.#channel)
    this.#lastEvent = Math.max(this.#lastEvent, upTo)
    const { events } = await this.#history({ after, upTo })
    return events.filter(({ entry }) => entry.key === key)
  }

  /** All events of a span, and more where they came together. */
  async #history(span: { after: number; upTo: number }): Promise<WatchBatch> {
    const end = Math.min(span.upTo, this.#lastEvent)
    const events: WatchEvent[] = []
    const stop = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(HISTORY_TIMEOUT_MS)])
    const from = { range: FOLLOWED, after: span.after, signal: stop }
    if (end <= span.after) return { events, upTo: span.upTo }
    for await (const batch of watchRange(this.#channel, from)) {
      events.push(...batch.events)
      if (batch.upTo >= end) return { events, upTo: Math.max(span.upTo, batch.upTo) }
    }
    throw new KnownError("StoreUnavailable", `${this.#channel.where}: history was not told in time`)
  }

  async #firstBatch(range: KeySpan, after: number): Promise<WatchBatch> {
    const stop = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(HISTORY_TIMEOUT_MS)])
    for await (const batch of watchRange(this.#channel, { range, after, signal: stop }))
      return batch
    throw new KnownError("StoreUnavailable", `${this.#channel.where}: history was not told in time`)
  }

  /** A watch outlives the time in which etcd cannot be asked. */
  async #untilThere<T>(read: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await read()
      } catch (error) {
        if (this.#stop.signal.aborted || !isKnown(error, "StoreUnavailable")) throw error
        await sleep(RETRY_MS)
      }
    }
  }
}

const at = (revision: number | undefined): { revision?: number } =>
  revision === undefined ? {} : { revision }

/** The first bytes above all that begin with `prefix`; its last byte is never 0xff, for it is UTF-8. */
function endOf(prefix: string): Buffer {
  const end = Buffer.from(prefix)
  end[end.length - 1] = (end.at(-1) ?? 0) + 1
  return end
}

function under(prefix: string, last?: string): KeySpan {
  const [start, next] = [Buffer.from(prefix), Buffer.from(`${last ?? ""}\0`)]
  const isInside = last !== undefined && Buffer.compare(next, start) > 0
  return { key: isInside ? next : start, end: endOf(prefix) }
}

/** Where a cursor stands: the revision to read at, and the last key. */
function placeOf(cursor: string): [revision: number, last: string | undefined] {
  const colon = cursor.indexOf(":")
  return colon < 0 ? [0, undefined] : [Number(cursor.slice(0, colon)), cursor.slice(colon + 1)]
}

const entryOf = ({ key, value, created, modified }: KeyValue): Entry => ({
  key,
  value,
  revision: modified,
  createRevision: created,
})

const rowOf = ({ key, value, modified: revision }: KeyValue) => ({
  revision,
  key,
  value,
  previous: undefined,
})

const averageBytes = (entries: readonly KeyValue[]): number =>
  1 + entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0) / entries.length

const valuesOf = (events: readonly WatchEvent[]): WatchEvent[] =>
  events.filter(({ entry }) => entry.key.startsWith(VALUES))

const writtenRow = ({ deleted, entry, previous }: WatchEvent): WrittenRow => ({
  revision: entry.modified,
  created: !deleted && entry.created === entry.modified,
  deleted,
  replaces: previous?.modified ?? 0,
  value: deleted ? undefined : entry.value,
})

const versionOf = ({ created, modified }: KeyValue): string => `${created}/${modified}`

/** undefined where no record can be at `version`. */
function compareVersion(name: RecordName, version: string | null): Compare[] | undefined {
  const key = OWN + name
  if (version === null) return [{ key, modified: 0 }]
  const [, created, modified] = /^(\d+)\/(\d+)$/.exec(version) ?? []
  if (created === undefined || modified === undefined) return undefined
  return [
    { key, created: Number(created) },
    { key, modified: Number(modified) },
  ]
}

const compareFence = (expected: string | null | undefined): Compare[] => {
  if (expected === undefined) return []
  return [expected === null ? { key: FENCE, modified: 0 } : { key: FENCE, value: expected }]
}

const putsOf = ({ put = [], fence }: RecordStep): Operation[] => [
  ...put.map(({ name, value }) => ({ put: { key: OWN + name, value } })),
  ...(fence?.next === undefined ? [] : [{ put: { key: FENCE, value: fence.next } }]),
]
