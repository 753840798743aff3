/** Takes the verbs: observes, asks rotation/ for the step, commits it, and sees that what other people read (files, annotation)
 *  follows before the verb is answered. The rewriting that a verb starts goes on without it. */
import { randomUUID } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown, KnownError } from "../errors.ts"
import { newKey } from "../keyring/keyring.ts"
import type { KeyProvider } from "../providers/provider.ts"
import type { Change, Keys, Observed } from "../registry/keys.ts"
import { type Caller, entryOf, type Taken } from "../rotation/history.ts"
import { isRunning, type Operation, startOperation } from "../rotation/operation.ts"
import { type Decision, decide, type Request, type Situation } from "../rotation/verbs.ts"

export interface VerbParts {
  readonly keys: Keys
  /** The name of the server that takes the verb, and so runs what it starts. */
  readonly nodeName: string
  /** Of a key that a verb makes; fixed when the verb is taken. */
  readonly provider: KeyProvider
  readonly now: () => Date
  /** Why the servers' hashes differ; undefined where all match. */
  readonly mismatch: () => Promise<string | undefined>
  /** Returns when files and annotation say what the keyring says. */
  readonly publish: () => Promise<void>
  /** Is told of each verb that changed something. */
  readonly taken: (taken: Taken) => void
}

/** Returns the operation that the verb started, undefined where it started none. Throws what `decide` throws, and what
 *  publishing throws: the verb is taken all the same. */
export async function takeVerb(
  request: Request,
  caller: Caller,
  parts: VerbParts,
): Promise<Operation | undefined> {
  const { keys, publish, now } = parts
  const mismatch = request.force ? undefined : await parts.mismatch()
  for (;;) {
    let isToWait = false
    const changed = await keys.change(request.verb, (observed) => {
      const decision = decide(request, situationOf(observed, { ...parts, mismatch }))
      isToWait = decision.outcome === "wait"
      return decision.outcome === "step"
        ? changeOf(decision, { request, caller, running: observed.operation, parts })
        : undefined
    })
    if (changed?.entry !== undefined) parts.taken(changed.entry)
    // Also where it was taken before: publishing may have failed then.
    if (!isToWait) {
      await publish().catch((error: unknown) => throwTaken(request, error))
      return isRunning(changed?.operation) ? changed.operation : undefined
    }
    await nextSecond(now)
  }
}

/** The step that the verb would take now; undefined where it would change nothing. It takes none, and throws what `decide` throws. */
export async function stepOf(request: Request, parts: VerbParts): Promise<Step | undefined> {
  const { keys, now } = parts
  const mismatch = request.force ? undefined : await parts.mismatch()
  for (;;) {
    const { record } = await keys.refresh()
    const observed = { record, operation: await keys.operation() }
    const decision = decide(request, situationOf(observed, { ...parts, mismatch }))
    if (decision.outcome !== "wait") return decision.outcome === "step" ? decision : undefined
    await nextSecond(now)
  }
}

/** Until a key may have another name. */
const nextSecond = (now: () => Date) => sleep(1000 - (now().getTime() % 1000))

function throwTaken({ verb }: Request, error: unknown): never {
  if (!isKnown(error)) throw error
  const done = `${verb} is taken, but the files or the Node do not say so yet`
  throw new KnownError(error.code, `${done}: ${error.message}`, { cause: error })
}

const situationOf = (
  { record: { keyring }, operation }: Observed,
  { provider, now, mismatch }: Pick<VerbParts, "provider" | "now"> & Pick<Situation, "mismatch">,
): Situation => ({
  keyring,
  operation,
  freshKey: newKey(keyring, { provider, now: now() }),
  mismatch,
})

export type Step = Extract<Decision, { outcome: "step" }>

function changeOf(step: Step, { request, caller, running, parts }: Taking): Change {
  const { keyring, movesFence, target, starts } = step
  const [id, server, now] = [randomUUID(), parts.nodeName, parts.now()]
  const { verb, vacuum = false } = request
  const operation = starts
    ? startOperation({
        id,
        holder: server,
        target,
        ...starts,
        vacuums: vacuum || goesOn(running),
        now,
      })
    : movesFence && aborted(running, now)
  return {
    keyring,
    movesFence,
    entry: entryOf({ id, verb, caller, server, target, now }),
    ...(operation && { operation }),
  }
}

/** Whether a rewrite that is taken over was to end with the file written afresh, as `enable` does. */
const goesOn = (running: Operation | undefined): boolean =>
  isRunning(running) && (running.vacuums === true || running.kind === "enable")

interface Taking {
  readonly request: Request
  readonly caller: Caller
  readonly running: Operation | undefined
  readonly parts: VerbParts
}

/** No operation outlives its fence. */
const aborted = (running: Operation | undefined, now: Date): Operation | undefined =>
  isRunning(running) ? { ...running, state: "aborted", ended: now.toISOString() } : undefined
