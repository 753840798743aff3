/** Takes the verbs: observes, asks rotation/ for the step, commits it, and sees that what other people read (files, annotation)
 *  follows before the verb is answered. The rewriting that a verb starts goes on without it. */
import { randomUUID } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { newKey } from "../keyring/keyring.ts"
import type { KeyProvider } from "../providers/provider.ts"
import type { Change, Keys, Observed } from "../registry/keys.ts"
import { type Operation, startOperation } from "../rotation/operation.ts"
import { decide, type Request } from "../rotation/verbs.ts"

export interface ControlOptions {
  readonly keys: Keys
  /** Of a key that a verb makes; fixed when the verb is taken. */
  readonly provider: KeyProvider
  readonly now: () => Date
  /** Why the servers' hashes differ; undefined where all match. */
  readonly mismatch: () => Promise<string | undefined>
  /** Returns when files and annotation say what the keyring says. */
  readonly publish: () => Promise<void>
}

export class Control {
  readonly #options: ControlOptions

  constructor(options: ControlOptions) {
    this.#options = options
  }

  /** Returns the operation that the verb started, undefined where it started none. Throws what `decide` throws. */
  async take(request: Request): Promise<Operation | undefined> {
    const { keys, publish, mismatch, now } = this.#options
    const why = request.force ? undefined : await mismatch()
    for (;;) {
      let wait = false
      const changed = await keys.change((observed) => {
        const step = this.#decide(request, observed, why)
        wait = step === "wait"
        return step === "wait" ? undefined : step
      })
      if (changed !== undefined) {
        await publish()
        return changed.operation
      }
      if (!wait) return undefined
      await sleep(1000 - (now().getTime() % 1000))
    }
  }

  #decide(
    request: Request,
    { record, operation }: Observed,
    mismatch: string | undefined,
  ): Change | undefined | "wait" {
    const { provider, now } = this.#options
    const { keyring } = record
    const freshKey = newKey(keyring, { provider, now: now() })
    const decision = decide(request, { keyring, operation, freshKey, mismatch })
    if (decision.outcome === "wait") return "wait"
    if (decision.outcome === "nothing") return undefined
    const { starts } = decision
    return {
      keyring: decision.keyring,
      movesFence: decision.movesFence,
      ...(starts && { operation: startOperation({ id: randomUUID(), ...starts, now: now() }) }),
    }
  }
}
