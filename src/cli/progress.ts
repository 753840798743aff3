/** How far a rewrite has come: a bar that renews itself on a terminal, a line every few seconds elsewhere; and what holds it up,
 *  once. */
import { describeTrouble, type Operation, type OperationSeen } from "../rotation/operation.ts"
import { type Context, note } from "./context.ts"
import { duration } from "./text.ts"

/** Where this command began to look, so that a rewrite that it joins late has a true rate. */
export interface Seen {
  readonly looked: number
  readonly atMs: number
}

const BAR_WIDTH = 24
const PLAIN_EVERY_MS = 5_000
/** Takes away what stands in the line of a terminal. */
const CLEAR = "\r\x1b[K"

/** `4000 of 10000 stored rows, 5120 a second, 2 s left`; rate and time are left out until there is one. */
export function progressText(
  operation: Operation,
  { since, nowMs }: { since: Seen; nowMs: number },
): string {
  const { looked, rows } = operation
  const seconds = (nowMs - since.atMs) / 1000
  const rate = seconds > 0 ? (looked - since.looked) / seconds : 0
  const counted = `${looked} of ${rows} stored rows`
  if (rate <= 0) return counted
  const left = Math.ceil(Math.max(0, rows - looked) / rate)
  return `${counted}, ${Math.round(rate)} a second, ${duration(left)} left`
}

export function bar({ looked, rows }: Operation): string {
  const share = rows === 0 ? 0 : Math.min(1, looked / rows)
  return `[${"#".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, "-")}]`
}

export interface Progress {
  show(operation: OperationSeen): void
  /** Takes the bar away. */
  end(): void
}

export function startProgress(context: Context): Progress {
  const { monotonicMs, stderr } = context
  let since: Seen | undefined
  let toldMs = monotonicMs()
  let told: string | undefined
  const clear = () => {
    if (stderr.isTerminal && since !== undefined) stderr.write(CLEAR)
  }
  return {
    show(operation) {
      const { kind, trouble } = operation
      if (trouble !== undefined && trouble !== told) {
        clear()
        note(context, describeTrouble(kind, trouble))
        told = trouble
      }
      const nowMs = monotonicMs()
      since ??= { looked: operation.looked, atMs: nowMs }
      const text = progressText(operation, { since, nowMs })
      if (stderr.isTerminal) {
        stderr.write(`${CLEAR}${`${bar(operation)} ${text}`.slice(0, stderr.columns - 1)}`)
      } else if (nowMs - toldMs >= PLAIN_EVERY_MS) {
        note(context, `${kind}: ${text}`)
        toldMs = nowMs
      }
    },
    end: clear,
  }
}
