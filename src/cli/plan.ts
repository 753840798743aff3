/** `keyturn secrets-encrypt plan`. It ends as the verb would: with 0, or with the code of what stands in its way. */
import { KnownError } from "../errors.ts"
import type { Plan, Work } from "../rewriter/plan.ts"
import { VERBS } from "../rotation/operation.ts"
import { type ConnectOptions, connect } from "./connect.ts"
import { type Context, type OutputOptions, show } from "./context.ts"
import { duration } from "./text.ts"
import { oneOf } from "./usage.ts"

export async function plan(
  text: string,
  options: ConnectOptions & OutputOptions,
  context: Context,
): Promise<void> {
  const verb = oneOf(VERBS, { text, what: "the verb" })
  const planned = await (await connect(options, context)).plan(verb)
  show(context, options, { json: planned, text: planText(planned) })
  const { blocked } = planned
  if (blocked !== null) throw new KnownError(blocked.code, blocked.message)
}

export function planText({ verb, blocked, work }: Plan): string {
  const lines = [
    `Verb: ${verb}`,
    `Would Go: ${blocked === null ? "yes" : `no, ${blocked.code}`}`,
    ...(work === null ? [] : workLines(work)),
    ...(work === null && blocked === null ? ["Values To Rewrite: 0"] : []),
  ]
  return `${lines.join("\n")}\n`
}

const workLines = (work: Work): string[] => [
  `Secrets: ${work.secrets}`,
  `Values To Rewrite: ${work.values} of ${work.rows} rows, ${work.bytes} bytes, in ${work.batches} ${work.batches === 1 ? "batch" : "batches"}`,
  `Unreadable Values: ${work.unreadable}`,
  `Watch Events: ${work.events}`,
  `Time: about ${about(work.seconds)}, beside requests ${about(work.secondsBeside)}`,
]

const about = (seconds: number): string =>
  seconds < 10 ? `${seconds.toFixed(1)} s` : duration(Math.round(seconds))
