/** Takes the verbs: observes, asks rotation/ for the step, commits it, and sees that what other people read (files, annotation)
 *  follows before the verb is answered. The rewriting that a verb starts goes on without it. */
import { randomUUID } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown, KnownError } from "../errors.ts"
import { newKey } from "../keyring/keyring.ts"
import type { KeyProvider } from "../providers/provider.ts"
import type { Change, Keys } from "../registry/keys.ts"
import { type Operation, startOperation } from "../rotation/operation.ts"
import { type Decision, decide, type Request } from "../rotation/verbs.ts"

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
}

/** Returns the operation that the verb started, undefined where it started none. Throws what `decide` throws, and what
 *  publishing throws: the verb is taken all the same. */
export async function takeVerb(request: Request, parts: VerbParts): Promise<Operation | undefined> {
  const { keys, nodeName, provider, publish, now } = parts
  const mismatch = request.force ? undefined : await parts.mismatch()
  for (;;) {
    let isToWait = false
    const changed = await keys.change(({ record, operation }) => {
      const { keyring } = record
      const freshKey = newKey(keyring, { provider, now: now() })
      const decision = decide(request, { keyring, operation, freshKey, mismatch })
      isToWait = decision.outcome === "wait"
      return decision.outcome === "step" ? changeOf(decision, { nodeName, now: now() }) : undefined
    })
    // Also where it was taken before: publishing may have failed then.
    if (!isToWait) {
      await publish().catch((error: unknown) => throwTaken(request, error))
      return changed?.operation
    }
    await sleep(1000 - (now().getTime() % 1000))
  }
}

function throwTaken({ verb }: Request, error: unknown): never {
  if (!isKnown(error)) throw error
  const done = `${verb} is taken, but the files or the Node do not say so yet`
  throw new KnownError(error.code, `${done}: ${error.message}`, { cause: error })
}

const changeOf = (
  { keyring, movesFence, starts }: Step,
  { nodeName: holder, now }: { readonly nodeName: string; readonly now: Date },
): Change => ({
  keyring,
  movesFence,
  ...(starts && { operation: startOperation({ id: randomUUID(), holder, ...starts, now }) }),
})

type Step = Extract<Decision, { outcome: "step" }>
