/** Servers that show a change at once agree again within moments: a verb that comes in between waits for that. */
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown } from "../errors.ts"

/** Longer than a server that is gone goes on being counted. */
const AGREE_WITHIN_MS = 9_000
const LOOK_EVERY_MS = 100

export interface AgreeOptions {
  /** With `restart` they do not agree before somebody restarts them: nothing is waited for. */
  readonly reload: "watch" | "restart"
  readonly monotonicMs: () => number
  readonly signal: AbortSignal
}

/** Takes a verb, again as long as the servers' hashes do not match. Throws HashMismatch where that lasts. */
export async function onceAgreed<T>(
  take: () => Promise<T>,
  { reload, monotonicMs, signal }: AgreeOptions,
): Promise<T> {
  const deadlineMs = monotonicMs() + AGREE_WITHIN_MS
  for (;;) {
    try {
      return await take()
    } catch (error) {
      const mayAgree = reload === "watch" && monotonicMs() < deadlineMs && !signal.aborted
      if (!mayAgree || !isKnown(error, "HashMismatch")) throw error
      await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {})
    }
  }
}
