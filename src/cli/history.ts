/** `keyturn secrets-encrypt history`. */
import type { HistoryEntry } from "../rotation/history.ts"
import { atLeast } from "../rotation/operation.ts"
import { type ConnectOptions, connect } from "./connect.ts"
import { type Context, type OutputOptions, show } from "./context.ts"
import { aligned, duration } from "./text.ts"

export async function history(
  options: ConnectOptions & OutputOptions,
  context: Context,
): Promise<void> {
  const client = await connect(options, context)
  const entries = await client.history()
  show(context, options, { json: entries, text: `${historyText(entries)}\n` })
}

/** What has no place in the table stands in the JSON. */
export function historyText(entries: readonly HistoryEntry[]): string {
  const rows = [
    ["Begun", "Verb", "Outcome", "Took", "Rewritten", "Key", "Retired", "By"],
    ["-----", "----", "-------", "----", "---------", "---", "-------", "--"],
    ...entries.map(row),
  ]
  return aligned(rows).join("\n")
}

const NONE = "-"

function row({ begun, verb, outcome, target, retired, ...entry }: HistoryEntry): string[] {
  const { user, address, server, rewritten } = entry
  const by = `${user} from ${address || NONE} on ${server}`
  const second = `${begun.slice(0, 19)}Z`
  const keys = [target ?? NONE, retired.join(", ") || NONE]
  const values = `${atLeast({ ...entry, state: outcome })}${rewritten}`
  return [second, verb, outcome, took(entry, begun), values, ...keys, by]
}

/** What is done in one commit took no time. */
function took({ ended }: Pick<HistoryEntry, "ended">, begun: string): string {
  if (ended === null || ended === begun) return NONE
  const seconds = (Date.parse(ended) - Date.parse(begun)) / 1000
  return seconds < 10 ? `${seconds.toFixed(2)} s` : duration(Math.round(seconds))
}
