/** The keyring in use: read from the datastore, kept in memory as a view, changed only by compare-and-swap together with the
 *  fence, the operation and the history. The cluster key is held here and nowhere else. */
import type { KeyObject } from "node:crypto"
import { isKnown, KnownError, within } from "../errors.ts"
import type { Keyring } from "../keyring/keyring.ts"
import {
  newFence,
  type OpenRecord,
  openRecord,
  readOutside,
  sealRecord,
} from "../keyring/record.ts"
import {
  makeServerSlot,
  type OpenSlot,
  opensBy,
  openSlot,
  type SlotSecret,
} from "../keyring/slots.ts"
import {
  decodeHistory,
  encodeHistory,
  historyAfter,
  type HistoryEntry,
  isTold,
  type Told,
} from "../rotation/history.ts"
import { decodeOperation, encodeOperation, type Operation } from "../rotation/operation.ts"
import { type StepName, step } from "../step.ts"
import type { RecordStep, Store, StoredRecord } from "../store/store.ts"
import { makeView, type View } from "./view.ts"
import { Writes } from "./writes.ts"

/** What was read for one change; all of it must still stand when the change commits. */
export interface Observed {
  readonly record: OpenRecord
  readonly operation: Operation | undefined
}

export interface Change {
  readonly keyring?: Keyring
  readonly slots?: readonly OpenSlot[]
  /** A new cluster key. */
  readonly clusterKey?: KeyObject
  readonly movesFence?: boolean
  /** What it replaces may not stay in the files of the datastore: {@link Keys.scrub} is due from now on. */
  readonly scrubs?: true
  /** Written with the fence that holds after the change. */
  readonly operation?: Omit<Operation, "fence">
  /** What the history is to tell of it; the end of an operation it tells without. */
  readonly entry?: HistoryEntry
}

export interface Changed {
  readonly view: View
  readonly operation: Operation | undefined
  readonly entry: HistoryEntry | undefined
  /** The newest revision while every fenced write was kept out. */
  readonly revision: number
}

/** A compare-and-swap that loses this often in a row meets something else than other servers. */
const ATTEMPTS_MAX = 100

/** Servers that came last; more would make the record grow with every name that there ever was. */
const SERVERS_MAX = 32

/** Stored: never change one. */
const SCRUB_DUE = Buffer.from("due")
const SCRUBBED = Buffer.from("done")

export class Keys {
  /** How much is sealed under them. */
  readonly writes: Writes
  readonly #store: Store
  #clusterKey: KeyObject
  /** While the cluster key is changed either may be the one that opens; so too after a change whose outcome is not known. */
  #nextClusterKey: KeyObject | undefined
  #own: { readonly slot: OpenSlot; readonly secret: SlotSecret } | undefined
  #isEnrolled = false
  #stored: StoredRecord
  #view: View
  #asked = 0
  #answered = 0

  private constructor(store: Store, clusterKey: KeyObject, stored: StoredRecord) {
    this.writes = new Writes(store)
    this.#store = store
    this.#clusterKey = clusterKey
    this.#stored = stored
    this.#view = viewOf(stored, clusterKey)
  }

  /** Throws RecordCorrupt where the datastore holds no keyring that `clusterKey` opens. */
  static async open(store: Store, clusterKey: KeyObject): Promise<Keys> {
    return new Keys(store, clusterKey, await readKeyring(store))
  }

  get view(): View {
    return this.#view
  }

  /** Reads the keyring again, linearizably. */
  async refresh(): Promise<View> {
    const asked = ++this.#asked
    const stored = await readKeyring(this.#store)
    // An answer that was overtaken by that of a later question may be the older keyring.
    if (asked < this.#answered) return this.#view
    if (!isSame(stored, this.#stored)) this.#view = this.#opened(stored)
    this.#stored = stored
    this.#answered = asked
    return this.#view
  }

  /** Gives this server a slot of its own, where the keyring has it no more: with it a change of the cluster key by
   *  another server is followed. It opens nothing after the end of the process. A proof from another datastore is held to this one's
   *  revisions with it. */
  async enroll(server: string, { now }: { readonly now: Date }): Promise<void> {
    const { slot } = (this.#own ??= makeServerSlot(server, now))
    const isFull = ({ slots }: OpenRecord) => slots.filter(isServer).length >= SERVERS_MAX
    // Where others have all places, those that live would take them from each other without end.
    const stands = (record: OpenRecord) =>
      record.slots.some(({ publicKey }) => publicKey === slot.publicKey) ||
      (this.#isEnrolled && isFull(record))
    // What has its name at the start is of a process before; later it may be of another server that was given the same name.
    const isFormer = (one: OpenSlot) => !this.#isEnrolled && one.id === server
    if (stands(this.#view.record)) return
    const { proven } = this.#view.record.keyring
    const newest = await this.#store.revision()
    await this.change("enroll", ({ record }) => {
      if (stands(record)) return undefined
      const others = record.slots.filter((one) => !isServer(one))
      const servers = record.slots.filter((one) => isServer(one) && !isFormer(one))
      return {
        slots: [...others, ...servers.slice(1 - SERVERS_MAX), slot],
        ...(isAhead(proven, newest) &&
          record.keyring.proven === proven && { keyring: { ...record.keyring, proven: newest } }),
      }
    })
    this.#isEnrolled = true
  }

  #opened(stored: StoredRecord): View {
    const next = this.#nextClusterKey
    if (next === undefined) return this.#openedByOwn(stored)
    try {
      return this.#openedBy(next, stored)
    } catch (error) {
      if (!isKnown(error, "RecordCorrupt")) throw error
      return this.#openedByOwn(stored)
    }
  }

  #openedByOwn(stored: StoredRecord): View {
    try {
      return viewOf(stored, this.#clusterKey)
    } catch (error) {
      if (!isKnown(error, "RecordCorrupt")) throw error
      const clusterKey = this.#bySlot(stored)
      if (clusterKey !== undefined) return this.#openedBy(clusterKey, stored)
      throw this.#isOfAnotherToken(stored) ? replaced(stored) : error
    }
  }

  #bySlot(stored: StoredRecord): KeyObject | undefined {
    if (this.#own === undefined) return undefined
    const { slot, secret } = this.#own
    const { slots } = readOutside(stored.value)
    const own = slots.find(({ publicKey }) => publicKey === slot.publicKey)
    return own && openSlot(own, secret)
  }

  /** Whether its slots for people's secrets are others than those known; where they are the same it was damaged. */
  #isOfAnotherToken({ value }: StoredRecord): boolean {
    const known = new Set(this.#view.record.slots.map(({ publicKey }) => publicKey))
    return readOutside(value).slots.some(
      ({ kind, publicKey }) => kind !== "server" && !known.has(publicKey),
    )
  }

  #openedBy(clusterKey: KeyObject, stored: StoredRecord): View {
    const view = viewOf(stored, clusterKey)
    this.#clusterKey = clusterKey
    this.#nextClusterKey = undefined
    return view
  }

  /** Where a change asked for it, leaves no earlier keyring behind in the files of the datastore: who held a secret that opened it
   *  could open it still. Throws StoreUnavailable: it stays due. */
  async scrub(): Promise<void> {
    const due = await this.scrubDue()
    if (due === undefined) return
    await step("scrub-records", () => this.#store.scrub("records"))
    // A change that came meanwhile made it due anew.
    await step("scrubbed", () =>
      this.#store.step({
        compare: [{ name: "scrub", version: due }],
        put: [{ name: "scrub", value: SCRUBBED }],
      }),
    )
  }

  /** {@link scrub}, after a change that stands all the same: where it fails, `done` begins the error's message. */
  async scrubAfter(done: string): Promise<void> {
    try {
      await this.scrub()
    } catch (error) {
      throw within(done, error)
    }
  }

  /** Another text for each change that made it due; undefined: it is not. */
  async scrubDue(): Promise<string | undefined> {
    const stored = await this.#store.record("scrub")
    return stored?.value.equals(SCRUB_DUE) === true ? stored.version : undefined
  }

  async operation(): Promise<Operation | undefined> {
    const stored = await this.#store.record("operation")
    return stored && decodeOperation(stored.value)
  }

  /** Oldest first. */
  async history(): Promise<HistoryEntry[]> {
    const stored = await this.#store.record("history")
    return stored === undefined ? [] : decodeHistory(stored.value)
  }

  /** Asks `decide` what to do with what is there, and commits that together, again and again until nobody came between.
   *  `decide` returns undefined to change nothing; what it throws ends the change with nothing written. */
  async change(
    name: StepName,
    decide: (observed: Observed) => Change | undefined,
  ): Promise<Changed | undefined> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const { record, version } = await this.refresh()
      const operation = await this.#store.record("operation")
      const change = decide({ record, operation: operation && decodeOperation(operation.value) })
      if (change === undefined) return undefined
      const changed = await this.#commit({ name, record, version, operation, change })
      if (changed !== undefined) return changed
    }
    throw new KnownError("StoreUnavailable", "the keyring changes faster than it can be read")
  }

  async #commit(from: {
    name: StepName
    record: OpenRecord
    version: string
    operation: StoredRecord | undefined
    change: Change
  }): Promise<Changed | undefined> {
    const { record, change } = from
    const clusterKey = change.clusterKey ?? this.#clusterKey
    const next = nextRecord(record, change)
    const operation = change.operation && { ...change.operation, fence: next.fence }
    const history = await this.#historyStep({
      entry: change.entry,
      before: from.operation && decodeOperation(from.operation.value),
      after: operation,
    })
    this.#nextClusterKey = change.clusterKey ?? this.#nextClusterKey
    const { operation: _, entry: __, scrubs, ...keyringChange } = change
    const keyringChanges = Object.values(keyringChange).some(Boolean)
    const commit: RecordStep = {
      compare: [
        { name: "keyring", version: from.version },
        { name: "operation", version: from.operation?.version ?? null },
        ...history.compare,
      ],
      put: [
        ...(keyringChanges
          ? [{ name: "keyring" as const, value: sealRecord(next, clusterKey) }]
          : []),
        ...(operation ? [{ name: "operation" as const, value: encodeOperation(operation) }] : []),
        ...history.put,
        ...(scrubs ? [{ name: "scrub" as const, value: SCRUB_DUE }] : []),
      ],
      fence: {
        expected: record.fence,
        ...(next.fence === record.fence ? {} : { next: next.fence }),
      },
    }
    const result = await step(from.name, () => this.#store.step(commit))
    if (result.outcome === "conflict") return this.#whyConflict(record)
    const view = await this.refresh().catch((cause: unknown) => {
      if (!isKnown(cause)) throw cause
      const seen = `the keyring is changed, and cannot be read back: ${cause.message}`
      throw new KnownError("OutcomeUnknown", seen, { cause })
    })
    return { view, operation, entry: change.entry, revision: result.revision }
  }

  /** The history's part of a step; empty for the many that it does not tell of. */
  async #historyStep(told: Told): Promise<Required<Pick<RecordStep, "compare" | "put">>> {
    if (!isTold(told)) return { compare: [], put: [] }
    const stored = await this.#store.record("history")
    const history = stored === undefined ? [] : decodeHistory(stored.value)
    return {
      compare: [{ name: "history", version: stored?.version ?? null }],
      put: [{ name: "history", value: encodeHistory(historyAfter(history, told)) }],
    }
  }

  /** A conflict is somebody else's change, unless the fence itself is not the keyring's. */
  async #whyConflict(record: OpenRecord): Promise<undefined> {
    const fence = await this.#store.fence()
    const now = await this.refresh()
    if (fence === record.fence || now.record.fence !== record.fence) return undefined
    throw new KnownError("RecordCorrupt", "the fence in the datastore is not the keyring's")
  }
}

/** Writes the first keyring of a datastore, if there is still none. */
export async function createKeyring(
  store: Store,
  first: { record: OpenRecord; clusterKey: KeyObject },
): Promise<"done" | "exists"> {
  const { outcome } = await step("first-keyring", () =>
    store.step({
      compare: [{ name: "keyring", version: null }],
      put: [{ name: "keyring", value: sealRecord(first.record, first.clusterKey) }],
      fence: { expected: null, next: first.record.fence },
    }),
  )
  return outcome === "done" ? "done" : "exists"
}

/** A version says nothing across a restore: an etcd that was put back counts to it again. */
const isSame = (one: StoredRecord, other: StoredRecord): boolean =>
  one.version === other.version && one.value.equals(other.value)

/** A proof at a revision still to come is from the datastore that this one was moved from: with it, plain text would be told to
 *  watches until revisions have come as far. */
const isAhead = (proven: number | null, newest: number): boolean =>
  proven !== null && proven > newest

const isServer = ({ kind }: OpenSlot): boolean => kind === "server"

function replaced({ value }: StoredRecord): KnownError {
  const { epoch, slots } = readOutside(value)
  const seen = `the datastore's keyring was replaced by one (epoch ${epoch}) that nothing this server holds opens`
  return new KnownError("SlotDidNotOpen", `${seen}; ${opensBy(slots)}`)
}

const nextRecord = (record: OpenRecord, change: Change): OpenRecord => ({
  epoch: record.epoch + 1,
  fence: change.movesFence ? newFence() : record.fence,
  slots: change.slots ?? record.slots,
  keyring: change.keyring ?? record.keyring,
})

const viewOf = (stored: StoredRecord, clusterKey: KeyObject): View =>
  makeView(openRecord(stored.value, clusterKey), stored.version)

async function readKeyring(store: Store): Promise<StoredRecord> {
  const stored = await store.record("keyring")
  if (stored !== undefined) return stored
  throw new KnownError("RecordCorrupt", "the datastore holds no keyring")
}
