/** Drives the operation to its end: barrier A, pass, barrier B, pass, proof, retirement. Each step looks again at what the
 *  datastore holds and may be repeated after a crash at any point; the cursor only saves time. */
import type { Keys } from "../registry/keys.ts"
import { type Operation, UNREADABLE_NAMED_MAX } from "../rotation/operation.ts"
import { afterProof } from "../rotation/retire.ts"
import { isRunning } from "../rotation/verbs.ts"
import type { RowBatch, Store } from "../store/store.ts"
import { allRows, census } from "./census.ts"
import { makeTarget, rewriteRows } from "./rewrite.ts"

export interface Run {
  readonly store: Store
  readonly keys: Keys
  readonly now: () => Date
  /** Milliseconds of a clock that never goes back. */
  readonly monotonicMs: () => number
  readonly signal: AbortSignal
}

/** How often the cursor is made durable during a pass. */
const CURSOR_EVERY_MS = 500

/** Runs what the operation record asks for until nothing runs. Returns the operation that ended, undefined where there was none
 *  or another verb took it over. */
export async function runOperation(run: Run): Promise<Operation | undefined> {
  for (;;) {
    run.signal.throwIfAborted()
    const operation = await run.keys.operation()
    if (!isRunning(operation)) return operation
    if (operation.fence !== (await run.keys.refresh()).record.fence)
      return supersede(run, operation)
    if (operation.upTo === null) await takeBarrier(run, operation)
    else if (!(await pass(run, operation, operation.upTo))) continue
    else if (operation.pass === 1) await save(run, operation, { pass: 2, upTo: null })
    else await finish(run, operation)
  }
}

/** Changes the operation record if it still is this operation and running. */
const save = (run: Run, { id }: Operation, changes: Partial<Operation>) =>
  run.keys.change(({ operation }) =>
    isRunning(operation) && operation.id === id
      ? { operation: { ...operation, ...changes } }
      : undefined,
  )

async function supersede(run: Run, operation: Operation): Promise<undefined> {
  await save(run, operation, { state: "superseded", ended: run.now().toISOString() })
}

/** No write under an older fence commits after this revision, and in pass 2 none that copies what pass 1 has not rewritten. */
async function takeBarrier(run: Run, operation: Operation): Promise<void> {
  const barrier = await save(run, operation, {})
  if (barrier === undefined) return
  const upTo = barrier.revision
  const { cursor } = operation
  const rows = operation.rows + (await run.store.countRows({ cursor, upTo }))
  await save(run, operation, { upTo, rows })
}

/** True at the end of the pass; false where the fence moved or another runner went ahead. */
async function pass(run: Run, operation: Operation, upTo: number): Promise<boolean> {
  const target = makeTarget(run.keys.view)
  if (target.view.record.fence !== operation.fence) return false
  let progress: Progress = operation
  let savedAtMs = run.monotonicMs()
  const { cursor } = operation
  for await (const batch of allRows(run.store, { cursor, upTo }, run.signal)) {
    const { replacements, unreadable } = rewriteRows(batch.rows, target)
    if (replacements.length > 0) {
      const result = await run.store.rewrite(operation.fence, replacements)
      if (result.outcome === "fenced") return fencedOff(run, operation)
    }
    progress = advanced(progress, batch, { rewritten: replacements.length, unreadable })
    if (run.monotonicMs() - savedAtMs < CURSOR_EVERY_MS) continue
    if ((await save(run, operation, progress)) === undefined) return false
    savedAtMs = run.monotonicMs()
  }
  return (await save(run, operation, progress)) !== undefined
}

/** Another verb moved the fence; where nobody did, the fence is damaged, and the commit throws RecordCorrupt. */
async function fencedOff(run: Run, operation: Operation): Promise<false> {
  await save(run, operation, {})
  return false
}

type Progress = Pick<
  Operation,
  "cursor" | "looked" | "rewritten" | "unreadable" | "unreadableNames"
>

function advanced(
  before: Progress,
  { rows, cursor }: RowBatch,
  batch: { rewritten: number; unreadable: Operation["unreadableNames"] },
): Progress {
  return {
    cursor,
    looked: before.looked + rows.length,
    rewritten: before.rewritten + batch.rewritten,
    unreadable: before.unreadable + batch.unreadable.length,
    unreadableNames: [...before.unreadableNames, ...batch.unreadable].slice(
      0,
      UNREADABLE_NAMED_MAX,
    ),
  }
}

/** The proof and the retirement. The census was made under the operation's fence, and the commit is valid only under it. */
async function finish(run: Run, { id, fence }: Operation): Promise<void> {
  await run.store.scrub()
  const counts = await census(run.store, run.keys.view, run.signal)
  await run.keys.change(({ record, operation }) => {
    if (!isRunning(operation) || operation.id !== id || record.fence !== fence) return undefined
    const { keyring, retired, kept } = afterProof(record.keyring, operation, counts)
    const ended = run.now().toISOString()
    return {
      ...(operation.retires ? { keyring } : {}),
      operation: { ...operation, state: "finished", ended, retired, kept },
    }
  })
}

/** Runs operations as they come, until the signal. `ended` is told of each; a failure is told to `failed` and tried again. */
export async function runOperations(
  run: Run,
  tell: {
    began: (operation: Operation) => void
    ended: (operation: Operation) => Promise<void>
    failed: (error: unknown) => Promise<void>
  },
): Promise<void> {
  const wakes = run.store.watchRecords(run.signal)[Symbol.asyncIterator]()
  let wake = wakes.next()
  while (!run.signal.aborted) {
    try {
      const before = await run.keys.operation()
      if (isRunning(before)) tell.began(before)
      const after = isRunning(before) ? await runOperation(run) : undefined
      if (after !== undefined) await tell.ended(after)
      if ((await wake).done) return
      wake = wakes.next()
    } catch (error) {
      if (run.signal.aborted) continue
      await tell.failed(error)
    }
  }
}
