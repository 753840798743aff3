/** Which operations this server runs: those it holds, those that were given back, and those whose holder has gone. */
import { setTimeout as sleep } from "node:timers/promises"
import { type Duty, dutyOf, look, type Sighting } from "../rotation/lease.ts"
import { decodeOperation, encodeOperation, type Operation } from "../rotation/operation.ts"
import { step } from "../step.ts"
import type { StoredRecord } from "../store/store.ts"
import { type Run, runOperation } from "./run.ts"

export interface Tell {
  readonly began: (operation: Operation) => void
  /** `operation` as its holder left it. */
  readonly tookOver: (operation: Operation) => void
  readonly ended: (operation: Operation) => Promise<void>
  readonly failed: (error: unknown) => Promise<void>
}

/** How often the record of another server's operation is looked at, at least. */
const LOOK_MS = 1_000

/** Runs operations as they come, until the signal; a failure is told to `failed` and tried again. */
export async function runOperations(run: Run, tell: Tell): Promise<void> {
  const wakes = run.store.watchRecords(run.signal)[Symbol.asyncIterator]()
  let wake = wakes.next()
  let sighting: Sighting | undefined
  while (!run.signal.aborted) {
    try {
      const stored = await run.store.record("operation")
      if (stored !== undefined) {
        sighting = look(sighting, { counter: stored.version, nowMs: run.monotonicMs() })
        const duty = await attend(run, { stored, sighting, tell })
        if (duty === "run" || duty === "take") continue
        if (duty === "watch" && (await isSooner(sleep(LOOK_MS, undefined, { ref: false }), wake)))
          continue
      }
      if ((await wake).done) return
      wake = wakes.next()
    } catch (error) {
      if (run.signal.aborted) continue
      await tell.failed(error)
    }
  }
}

const isSooner = (first: Promise<unknown>, second: Promise<unknown>): Promise<boolean> =>
  Promise.race([first.then(() => true), second.then(() => false)])

/** Does its duty once, and returns it. */
async function attend(
  run: Run,
  { stored, sighting, tell }: { stored: StoredRecord; sighting: Sighting; tell: Tell },
): Promise<Duty> {
  const operation = decodeOperation(stored.value)
  const duty = dutyOf(operation, { server: run.server, sighting })
  if (operation === undefined) return duty
  if (duty === "take" && (await take(run, stored, operation))) tell.tookOver(operation)
  if (duty === "run") {
    tell.began(operation)
    const ended = await runOperation(run)
    if (ended !== undefined) await tell.ended(ended)
  }
  return duty
}

/** False where the record is not as it was seen any more: its holder is there, or another server was first. */
async function take(run: Run, { version }: StoredRecord, operation: Operation): Promise<boolean> {
  const value = encodeOperation({ ...operation, holder: run.server })
  const { outcome } = await step("take-over", () =>
    run.store.step({
      compare: [{ name: "operation", version }],
      put: [{ name: "operation", value }],
    }),
  )
  return outcome === "done"
}
