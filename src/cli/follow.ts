/** Waits for the end of an operation on the server, and judges it: a command is done when nothing needs an old key any more. */
import { setTimeout as sleep } from "node:timers/promises"
import { ERRORS, isKnown, KnownError } from "../errors.ts"
import { type Ended, seenAgain } from "../rotation/history.ts"
import {
  atLeast,
  counted,
  leftBehind,
  type Operation,
  quoted,
  type Verb,
} from "../rotation/operation.ts"
import type { Client } from "./client.ts"
import { type Context, note } from "./context.ts"
import { startProgress } from "./progress.ts"

const LOOK_MS_MIN = 20
const LOOK_MS_MAX = 50
/** A server may be restarted meanwhile: it goes on with the operation, and so does this command. */
const AWAY_MS_MAX = 60_000
const GOES_ON = "waiting a minute for it: what was begun goes on by itself when the server is back"

export interface Followed {
  /** null: the verb had been taken before; then the operation that runs counts, whatever started it, for it does what the verb asked
   *  for; else the one that the verb started, if it is still the last. */
  readonly id: string | null
  readonly kind: Verb
}

/** Throws KeyStillNeeded where values stayed behind, RotationUnderWay where another verb took over, RotationAborted. */
export async function follow(client: Client, followed: Followed, context: Context): Promise<void> {
  const waitedFor = await ended(client, followed, context)
  if (waitedFor === null) return
  const { operation, isEarlier } = waitedFor
  note(context, isEarlier ? takenBefore(followed.kind) : summary(operation))
  const left = leftBehind(operation)
  if (left !== null) throw new KnownError("KeyStillNeeded", left)
}

export const takenBefore = (verb: Verb): string => `nothing to do: ${verb} had been taken before`

/** Returns null where there is no operation to wait for. `isEarlier`: it was over before the verb was given again. */
async function ended(
  client: Client,
  { id: started, kind: asked }: Followed,
  context: Context,
): Promise<{ operation: Operation | Ended; isEarlier: boolean } | null> {
  const progress = startProgress(context)
  try {
    let [id, kind, isEarlier] = [started, asked, false]
    for (let pauseMs = LOOK_MS_MIN; ; pauseMs = Math.min(LOOK_MS_MAX, pauseMs * 2)) {
      const now = await untilThere(() => client.operation(), context)
      if (id === null) {
        if (now === null || (now.kind !== asked && now.state !== "running")) return null
        id = now.id
        kind = now.kind
        isEarlier = now.state !== "running"
      }
      const operation = await seenAgain({ id, kind }, now, () =>
        untilThere(() => client.history(), context),
      )
      if (operation.state === "finished") return { operation, isEarlier }
      progress.show(operation)
      await sleep(pauseMs, undefined, { signal: context.signal })
    }
  } finally {
    progress.end()
  }
}

async function untilThere<T>(ask: () => Promise<T>, context: Context): Promise<T> {
  const { monotonicMs, signal } = context
  const giveUpMs = monotonicMs() + AWAY_MS_MAX
  for (let told = false; ; told = true) {
    try {
      return await ask()
    } catch (error) {
      if (!isKnown(error) || ERRORS[error.code].again === "final" || monotonicMs() > giveUpMs)
        throw error
      if (!told) note(context, `${error.message}; ${GOES_ON}`)
      await sleep(LOOK_MS_MAX, undefined, { signal })
    }
  }
}

/** `rewrote 9000 stored values in 1.70 s; retired "aescbckey"`. */
function summary(operation: Operation | Ended): string {
  const { started, ended, rewritten, retired } = operation
  const seconds = ended === null ? 0 : (Date.parse(ended) - Date.parse(started)) / 1000
  const keys = retired.length === 0 ? "" : `; retired ${retired.map(quoted).join(", ")}`
  const values = `${atLeast(operation)}${counted(rewritten)}`
  return `rewrote ${values} in ${seconds.toFixed(2)} s${keys}`
}
