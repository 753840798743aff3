/** Drives the operation to its end: barrier A, pass, barrier B, pass, proof, retirement. Each step looks again at what the
 *  datastore holds and may be repeated after a crash at any point, by this server or another, by both at once too; cursor and
 *  lease only save time. */
import { addAbortListener } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { PLAIN_SECRET } from "../format/value.ts"
import { writingKey } from "../keyring/keyring.ts"
import type { Keys, Observed } from "../registry/keys.ts"
import type { View } from "../registry/view.ts"
import { BEAT_MS } from "../rotation/lease.ts"
import { isRunning, type Operation, UNREADABLE_NAMED_MAX } from "../rotation/operation.ts"
import { COUNTED_FOR_REWRITTEN } from "../rotation/pace.ts"
import { afterProof } from "../rotation/retire.ts"
import { type StepName, step } from "../step.ts"
import type { Store } from "../store/store.ts"
import { type Batch, type Batches, batchesOf } from "./batches.ts"
import { Budget } from "./budget.ts"
import { BATCH_ROWS, type Census, census, countsOf } from "./census.ts"

/** How fast the passes and the proof go. */
export interface Pacer {
  /** Until what it returns is disposed of. `waits`: what a batch takes, a thread or the datastore takes for it; else this thread's own
   *  work counts. */
  begin(how: { readonly waits: boolean }): Disposable
  /** Of the next batch, at most. */
  readonly rows: number
  /** After each batch. Rejects where the signal aborts. */
  pause(signal: AbortSignal): Promise<void>
}

export const UNPACED: Pacer = {
  begin: () => ({ [Symbol.dispose]() {} }),
  rows: BATCH_ROWS,
  pause: async () => {},
}

export interface Run {
  readonly store: Store
  readonly keys: Keys
  /** The name of this server, which runs the operations that it holds. */
  readonly server: string
  readonly now: () => Date
  /** Milliseconds of a clock that never goes back. */
  readonly monotonicMs: () => number
  readonly signal: AbortSignal
  /** Absent: as fast as it can. */
  readonly pacer?: Pacer
  /** How a pass goes through the rows; absent: by `store`. */
  readonly batches?: Batches
}

interface Drive extends Required<Run> {
  readonly seen: {
    /** The most of the operation's record. One that comes back from a copy of the datastore has fewer, and what was learned of rows
     *  before is not to be relied on. */
    moves: number
    /** The operation whose proof found what the passes had not. */
    missed: string | undefined
  }
}

const FROM_THE_START = { pass: 1, upTo: null, cursor: "" } as const

/** How often the cursor is made durable during a pass. */
const CURSOR_EVERY_MS = 500

/** Runs what the operation record asks of this server until nothing runs. Returns the operation that it ended, undefined where
 *  there was none, or another verb or another server took it over. */
export async function runOperation(options: Run): Promise<Operation | undefined> {
  const parts = { pacer: UNPACED, batches: batchesOf(options.store), ...options }
  const run: Drive = { ...parts, seen: { moves: 0, missed: undefined } }
  const over = new AbortController()
  const beats = beat(run, AbortSignal.any([run.signal, over.signal]))
  try {
    return await drive(run)
  } catch (error) {
    // The work goes on in another server at once; where that cannot be said, after the lease.
    if (run.signal.aborted) await giveBack(run).catch(() => {})
    throw error
  } finally {
    over.abort()
    await beats
  }
}

async function drive(run: Drive): Promise<Operation | undefined> {
  // Whether the pass was begun before: what was done in it since the last save is not counted.
  for (let resumes = true; ; ) {
    run.signal.throwIfAborted()
    const operation = await run.keys.operation()
    run.seen.moves = operation?.moves ?? 0
    if (operation?.holder !== run.server) return undefined
    if (!isRunning(operation)) return operation
    if (operation.fence !== (await run.keys.refresh()).record.fence)
      return supersede(run, operation)
    if (operation.upTo === null) {
      await takeBarrier(run, operation)
      resumes = false
      continue
    }
    const from: Operation = resumes ? { ...operation, resumed: true } : operation
    if (!(await pass(run, from, operation.upTo))) resumes = true
    else if (operation.pass === 1)
      await save(run, "second-pass", operation, { pass: 2, upTo: null })
    else await finish(run, operation)
  }
}

/** Moves the lease's counter through all that takes longer than a save of the cursor. */
async function beat(run: Drive, signal: AbortSignal): Promise<void> {
  while (await sleep(BEAT_MS, true, { signal }).catch(() => false))
    // What keeps a beat from the datastore keeps the work from it too, and is told there.
    await changeHeld(run, "beat", (operation) => operation).catch(() => {})
}

const giveBack = (run: Drive) =>
  changeHeld(run, "give-back", (operation) => ({ ...operation, holder: null }))

/** Changes the operation record while it is this run's to change. */
async function changeHeld(
  run: Drive,
  name: StepName,
  change: (held: Operation) => Operation | undefined,
) {
  const changed = await run.keys.change(name, (observed) => {
    const held = heldBy(run, observed)
    const operation = held && change(held)
    return operation && { operation: { ...operation, moves: held.moves + 1 } }
  })
  run.seen.moves = Math.max(run.seen.moves, changed?.operation?.moves ?? 0)
  return changed
}

/** While this server holds it, it runs, its fence is the one that holds, and it is no older than what was seen of it. */
const heldBy = ({ server, seen }: Drive, { record, operation }: Observed): Operation | undefined =>
  isRunning(operation) &&
  operation.holder === server &&
  operation.fence === record.fence &&
  operation.moves >= seen.moves
    ? operation
    : undefined

const save = (run: Drive, name: StepName, { id }: Operation, changes: Partial<Operation>) =>
  changeHeld(run, name, (held) => (held.id === id ? { ...held, ...changes } : undefined))

/** The operation's fence is not the keyring's: no verb leaves it so, somebody edited the record. */
async function supersede(run: Drive, { id }: Operation): Promise<undefined> {
  const ended = run.now().toISOString()
  await run.keys.change("supersede", ({ operation }) =>
    isRunning(operation) && operation.id === id
      ? { operation: { ...operation, state: "superseded", ended } }
      : undefined,
  )
}

/** No write under an older fence commits after this revision, and in pass 2 none that copies what pass 1 has not rewritten. */
async function takeBarrier(run: Drive, operation: Operation): Promise<void> {
  const barrier = await save(run, "barrier", operation, {})
  if (barrier === undefined) return
  const upTo = barrier.revision
  const { cursor } = operation
  const rows = operation.rows + (await run.store.countRows({ cursor, upTo }))
  await save(run, "pass", operation, { upTo, rows })
}

/** True at the end of the pass; false where the fence moved or another runner went ahead. */
async function pass(run: Drive, operation: Operation, upTo: number): Promise<boolean> {
  const { view, writes } = run.keys
  if (view.record.fence !== operation.fence) return false
  using _ = run.pacer.begin({ waits: true })
  const budget = new Budget(writes, view.counted)
  let progress: Progress = operation
  let saved: Promise<unknown> = Promise.resolve(operation)
  let savedAtMs = run.monotonicMs()
  const batches = run.batches({
    view,
    cursor: operation.cursor,
    upTo,
    signal: run.signal,
    rows: () => run.pacer.rows,
    count: (seals) => budget.take(seals),
  })
  try {
    for await (const { rewritten, ...batch } of batches) {
      if (rewritten === "fenced") {
        // Another verb moved the fence; where nobody did, the fence is damaged, and the commit throws RecordCorrupt.
        await save(run, "barrier", operation, {})
        return false
      }
      progress = advanced(progress, { rewritten, ...batch })
      await run.pacer.pause(run.signal)
      if (run.monotonicMs() - savedAtMs < CURSOR_EVERY_MS) continue
      if ((await saved) === undefined) return false
      saved = save(run, "cursor", operation, progress)
      saved.catch(() => {}) // told at the next one, for which the batches between need not wait
      savedAtMs = run.monotonicMs()
    }
  } finally {
    // One that came late would put the cursor back.
    await Promise.allSettled([saved])
  }
  return (await save(run, "cursor", operation, progress)) !== undefined
}

type Progress = Pick<
  Operation,
  "cursor" | "looked" | "rewritten" | "resumed" | "unreadable" | "unreadableNames"
>

function advanced(
  before: Progress,
  { cursor, looked, rewritten, unreadable }: Batch & { rewritten: number },
): Progress {
  return {
    cursor,
    looked: before.looked + looked,
    rewritten: before.rewritten + rewritten,
    ...(before.resumed && { resumed: before.resumed }),
    unreadable: before.unreadable + unreadable.length,
    unreadableNames: [...before.unreadableNames, ...unreadable].slice(0, UNREADABLE_NAMED_MAX),
  }
}

/** What nothing stored begins with any more, where all could be rewritten; undefined where that is too much to name: plaintext of
 *  every kind. */
function gone(view: View, kind: Operation["kind"]): readonly Uint8Array[] | undefined {
  if (kind === "enable") return undefined
  const { keyring } = view.record
  const writer = writingKey(keyring)?.name
  const others = keyring.keys.filter(({ name }) => name !== writer)
  const prefixes = others.map(({ name }) => view.provider(name).prefix)
  return writer === undefined ? prefixes : [...prefixes, PLAIN_SECRET]
}

/** Rejects with the signal's reason where that comes first. */
async function untilAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  using _ = addAbortListener(signal, () => reject(signal.reason))
  await Promise.race([work, aborted])
}

/** The proof and the retirement, committed under the fence that the census was made under. Beside it old copies are cleared, which
 *  it does not read; a run that is stopped does not wait for that, the store's end may. Where a key would be kept for what all opens,
 *  a copy of the datastore was put back behind a pass: both passes are made again, once. */
async function finish(run: Drive, { id, fence, kind, vacuums }: Operation): Promise<void> {
  const { store, keys, signal } = run
  const of = vacuums ? undefined : gone(keys.view, kind)
  const cleared = untilAborted(
    step("scrub", () => store.scrub(of)),
    signal,
  )
  const counting = count(run)
  await Promise.allSettled([cleared, counting])
  const found = await counting
  await cleared
  const { revision, unencrypted } = found
  const counted = { counts: countsOf(found), unencrypted: unencrypted.stored, revision }
  const changed = await run.keys.change("retire", (observed) => {
    const operation = heldBy(run, observed)
    if (operation?.id !== id || operation.fence !== fence) return undefined
    const { record } = observed
    // One that was taken in meanwhile was not looked for: the next proof does.
    if (!record.keyring.keys.every(({ name }) => counted.counts.has(name))) return undefined
    const { keyring, ...outcome } = afterProof(record.keyring, operation, counted)
    const isMissed = operation.unreadable === 0 && Object.keys(outcome.kept).length > 0
    if (isMissed && run.seen.missed !== id)
      return { operation: { ...operation, ...FROM_THE_START, moves: operation.moves + 1 } }
    const ended = run.now().toISOString()
    return {
      ...(keyring === record.keyring ? {} : { keyring }),
      operation: { ...operation, state: "finished", ended, ...outcome },
    }
  })
  if (isRunning(changed?.operation)) run.seen.missed = id
}

async function count({ store, keys, signal, pacer }: Drive): Promise<Census> {
  using _ = pacer.begin({ waits: false })
  return await census(store, keys.view, {
    signal,
    limit: () => Math.min(BATCH_ROWS, COUNTED_FOR_REWRITTEN * pacer.rows),
    pause: () => pacer.pause(signal),
  })
}
