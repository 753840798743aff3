/** The datastore on etcd 3.4 or later. Values lie under their own keys as kube-apiserver stores them; the records, the
 *  fence and a mark under /keyturn/, in the same history:
 *
 *    /keyturn/<name>   a record (RECORD_NAMES in store.ts); its version is what etcd says of it
 *    /keyturn/fence    the fence's id
 *    /keyturn/mark     empty; put where the end of history must be an event
 *
 *  etcd is linearizable and gives a revision as it commits, so what it answers at is the newest revision of all. One
 *  watch a store follows both ranges and tells all watchers. */
import { open } from "node:fs/promises"
import { setTimeout as sleep } from "node:timers/promises"
import { KnownError } from "../errors.ts"
import { channelTo, compareFence, type EtcdAddress, range, txn } from "./etcd-calls.ts"
import type { CallOptions, EtcdChannel } from "./etcd-channel.ts"
import { IsFuture, LeaseGone, WasCompacted } from "./etcd-errors.ts"
import { EtcdHistory, type HistoryOptions, newestRevision, putMark } from "./etcd-history.ts"
import { FENCE, OWN, under } from "./etcd-keys.ts"
import { Leases } from "./etcd-leases.ts"
import {
  type Compare,
  decodePiece,
  decodeVersion,
  encodeLeaseGrant,
  type KeyValue,
  type Operation,
  type RangeAsked,
  type Ranged,
  type TxnAnswer,
} from "./etcd-messages.ts"
import { rewrite } from "./etcd-rewrite.ts"
import { EtcdRows } from "./etcd-rows.ts"
import type { Replacing } from "./etcd-watch.ts"
import { change, creation, deletion, type EngineWrite } from "./engine-write.ts"
import { AnswerLost, lookFor, unknown, type WrittenRow } from "./lost-answer.ts"
import { compactedAway, futureRevision } from "./revisions.ts"
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
  RowRange,
  StepResult,
  Store,
  StoredRecord,
  Update,
  WatchOptions,
  WriteResult,
} from "./store.ts"

/** So much later than this server another one may tell of a change. */
const OTHERS_BEHIND_MS = 1_000
const OLDEST = [3, 4] as const

export interface EtcdOptions extends EtcdAddress {
  /** Called with what nobody else hears of: a failure in the background. */
  readonly warn?: (message: string, error: unknown) => void
}

/** Throws KnownError ConfigInvalid where etcd is too old, StoreUnavailable where none answers. */
export async function openEtcd({ warn, ...address }: EtcdOptions): Promise<Store> {
  const channel = channelTo(address)
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
  const path = "/etcdserverpb.Maintenance/Status"
  const status = await channel.call(path, empty, { isRepeatable: true })
  const version = decodeVersion(status)
  const [major = 0, minor = 0] = version.split(".").map(Number)
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return
  const seen = `${channel.where} is etcd ${version}`
  throw new KnownError("ConfigInvalid", `${seen}; ${OLDEST.join(".")} is the oldest served`)
}

class EtcdStore implements Store {
  readonly #channel: EtcdChannel
  readonly #warn: HistoryOptions["warn"]
  readonly #history: EtcdHistory
  readonly #leases: Leases
  readonly #stop = new AbortController()
  readonly #rows: EtcdRows

  constructor(channel: EtcdChannel, options: HistoryOptions) {
    this.#channel = channel
    this.#warn = options.warn
    this.#history = new EtcdHistory(channel, options)
    this.#rows = new EtcdRows((asked, how) => this.#range(asked, how))
    this.#leases = new Leases((lease) =>
      channel.call("/etcdserverpb.Lease/LeaseGrant", encodeLeaseGrant(lease)),
    )
  }

  async get(key: string, revision?: number): Promise<Entry | undefined> {
    const [found] = (await this.#range({ key, revision })).entries
    return found && entryOf(found)
  }

  async list(range: ListQuery): Promise<Page> {
    const { prefix, limit = 0, revision } = range
    const asked = { ...under(prefix, range.after), limit, revision }
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
    return this.#history.watch(options)
  }

  revision(): Promise<number> {
    return newestRevision(this.#channel)
  }

  compactedRevision(): Promise<number> {
    return this.#history.compactedRevision()
  }

  async compact(revision: number): Promise<void> {
    await this.#at(revision, this.#history.compact(revision))
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
    const known = this.#history.position
    const compare = [...versions.flatMap((one) => one ?? []), ...compareFence(step.fence?.expected)]
    const asked = { compare, success: putsOf(step), failure: [] }
    const answer = await txn(this.#channel, asked).catch((error: unknown) => {
      if (error instanceof AnswerLost) return this.#lookForStep(step, known, error)
      throw error
    })
    if (!answer.succeeded) return { outcome: "conflict" }
    return { outcome: "done", revision: answer.revision }
  }

  watchRecords(signal: AbortSignal): AsyncIterable<void> {
    return this.#history.watchRecords(signal)
  }

  rows(query: RowRange & { limit: number }): Promise<RowBatch> {
    return this.#rows.rows(query)
  }

  countRows(range: RowRange): Promise<number> {
    return this.#rows.countRows(range)
  }

  rewrite(fence: string, replacements: readonly Replacement[]): Promise<Rewritten> {
    return rewrite(this.#channel, fence, replacements)
  }

  /** What was replaced lies in history until that is compacted; a watch that has not told of it by then ends. For the end of a
   *  rewrite it is enough that none can be read any more: etcd clears its file within seconds, and goes on with that after a crash. */
  async scrub(of?: "records" | readonly Uint8Array[]): Promise<void> {
    const isPhysical = !Array.isArray(of)
    for (;;) {
      const revision = await this.revision()
      await this.#history.caughtUp()
      await sleep(OTHERS_BEHIND_MS)
      // One of a later revision, as there is since, ends after every earlier one.
      const compacting = this.#history.compact(revision, { isPhysical })
      if ((await this.#at(revision, compacting)) || !isPhysical) return
    }
  }

  /** As etcd's own `snapshot save` writes it. */
  async snapshot(path: string): Promise<void> {
    const method = "/etcdserverpb.Maintenance/Snapshot"
    const { signal } = this.#stop
    const pieces = this.#channel.stream(method, Buffer.alloc(0), { signal, isLast: true })
    await using file = await open(path, "wx", 0o600)
    let isDigest = false
    for await (const message of pieces) {
      const { remainingBytes, bytes } = decodePiece(message)
      await file.writeFile(bytes)
      if (isDigest) {
        await file.sync()
        return
      }
      isDigest = remainingBytes === 0
    }
    throw new KnownError("StoreUnavailable", `${this.#channel.where}: the snapshot ended early`)
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#leases.close()
    this.#history.stop()
    this.#channel.close()
    await this.#history.stopped
  }

  // Reading

  #range(asked: RangeAsked, options?: CallOptions): Promise<Ranged> {
    return this.#at(asked.revision ?? 0, range(this.#channel, asked, options))
  }

  /** Tells of a revision that is not there any more, or not yet. */
  async #at<T>(revision: number, asked: Promise<T>): Promise<T> {
    try {
      return await asked
    } catch (error) {
      if (error instanceof IsFuture) throw futureRevision(revision, await this.revision())
      if (error instanceof WasCompacted)
        throw compactedAway(revision, await this.compactedRevision())
      throw error
    }
  }

  // Writing

  async #write(write: EngineWrite): Promise<WriteResult> {
    const { key, fence, expected, value, ttlSeconds } = write
    const known = this.#history.position
    const lease = await this.#leases.for(ttlSeconds)
    const done: Operation = value === null ? { remove: { key } } : { put: { key, value, lease } }
    const asked = {
      compare: [{ key, modified: expected }, ...compareFence(fence)],
      success: [done],
      failure: [{ range: { key } }, { range: { key: FENCE } }],
    }
    try {
      const { succeeded, revision, ranges } = await txn(this.#channel, asked)
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

  #lookFor(write: EngineWrite, known: number, lost: AnswerLost): Promise<WriteResult> {
    const look = {
      rows: async () => (await this.#history.eventsOf(write.key, known)).map(writtenRow),
      live: () => this.get(write.key),
      fence: () => this.fence(),
    }
    return lookFor(write, look, { lost, warn: this.#warn })
  }

  async #lookForStep(
    step: RecordStep,
    known: number,
    lost: AnswerLost,
  ): Promise<Pick<TxnAnswer, "succeeded" | "revision">> {
    const [put] = putsOf(step)
    if (put === undefined || !("put" in put)) throw unknown("a change of the records", lost)
    const { key, value } = put.put
    try {
      const events = await this.#history.eventsOf(String(key), known)
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
}

const entryOf = ({ key, value, created, modified }: KeyValue): Entry => ({
  key,
  value,
  revision: modified,
  createRevision: created,
})

const writtenRow = ({ deleted, entry, previous }: Replacing): WrittenRow => ({
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

const putsOf = ({ put = [], fence }: RecordStep): Operation[] => [
  ...put.map(({ name, value }) => ({ put: { key: OWN + name, value } })),
  ...(fence?.next === undefined ? [] : [{ put: { key: FENCE, value: fence.next } }]),
]
