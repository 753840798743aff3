/** Each commit of a verb, of a rewrite and of a start, by name: between any two of them the process may die, and goes on by itself
 *  when it starts again (I6). A test ends it there: KEYTURN_FAILPOINT=batch:after, tests/e2e/failpoints.test.ts. */
import { bug } from "./errors.ts"

// biome-ignore format: a table
export const STEPS = [
  // the keyring: what a verb asks for, in one commit with fence and operation
  "prepare", "rotate", "reencrypt", "rotate-keys", "abort", "enable", "disable",
  // the keyring: everything else
  "first-keyring", "take-in-keys", "enroll", "change-token", "recovery-key", "revoke-recovery-key", "destroy-key",
  // what a keyring of before left in the datastore's files
  "scrub-records", "scrubbed",
  // beside the keyring
  "count-writes",
  // who runs an operation
  "take-over", "give-back", "beat",
  // how far it is, what it rewrote, what it ends in
  "barrier", "pass", "batch", "cursor", "second-pass", "scrub", "retire", "supersede",
  // files of the token
  "token-file", "node-token", "next-token", "keep-token", "drop-next-token",
  // what a server shows: files, and objects of its own
  "encryption-config", "encryption-state", "kubeconfig", "certificate-key", "certificate", "node", "server-lease", "namespace",
] as const

export type StepName = (typeof STEPS)[number]
type Side = "before" | "after"

/** Called at both sides of every step. */
let reached: (name: StepName, side: Side) => void = () => {}

/** Commits, and returns when that is durable. */
export async function step<T>(name: StepName, commit: () => Promise<T>): Promise<T> {
  reached(name, "before")
  const done = await commit()
  reached(name, "after")
  return done
}

/** {@link step} for what is written at once. */
export function stepSync<T>(name: StepName, commit: () => T): T {
  reached(name, "before")
  const done = commit()
  reached(name, "after")
  return done
}

const FAILPOINT = /^([a-z-]+):(before|after)(?:@(\d+))?(?:=(SIG[A-Z]+))?$/

/** `batch:after`, `cursor:before@2` (the second time), `batch:after=SIGSTOP` (in place of SIGKILL), and several of these with commas
 *  between them. `kill` of the own process by SIGKILL does not return. */
export function armFailpoints(text: string, kill: (signal: string) => void): void {
  const waiting = text.split(",").map((one) => {
    const [, name, side, times = "1", signal = "SIGKILL"] = FAILPOINT.exec(one) ?? []
    if (!STEPS.some((known) => known === name)) bug(`KEYTURN_FAILPOINT: ${one} is at no step`)
    return { name, side, left: Number(times), signal }
  })
  reached = (name, side) => {
    for (const point of waiting)
      if (point.name === name && point.side === side && --point.left === 0) kill(point.signal)
  }
}
