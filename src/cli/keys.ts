/** `keyturn secrets-encrypt keys`. */
import { humanDuration } from "../api/text/human-duration.ts"
import { KEY_TYPES } from "../server/status.ts"
import type { KeyListed } from "../server/key-list.ts"
import { type ConnectOptions, connect } from "./connect.ts"
import type { Context } from "./context.ts"
import { aligned } from "./status-text.ts"

export interface KeysOptions extends ConnectOptions {
  readonly output: "text" | "json"
}

export async function listKeys(options: KeysOptions, context: Context): Promise<void> {
  const keys = await (await connect(options, context)).keys()
  const json = () => `${JSON.stringify({ keys }, null, "\t")}\n`
  context.stdout.write(options.output === "json" ? json() : keysText(keys))
}

/** The name comes last, for it may hold blanks. */
export function keysText(keys: readonly KeyListed[]): string {
  if (keys.length === 0) return "No keys\n"
  const rows = [
    ["State", "Key Type", "Created", "Age", "Stored Values", "Writes", "Name"],
    ["-----", "--------", "-------", "---", "-------------", "------", "----"],
    ...keys.map(rowOf),
  ]
  return `${aligned(rows).join("\n")}\n`
}

function rowOf({ state, provider, created, ageseconds, name, ...key }: KeyListed): string[] {
  const { storedvalues, writes, writesmax } = key
  return [
    state,
    KEY_TYPES[provider],
    created.replace(/\.\d+Z$/, "Z"),
    humanDuration(ageseconds * 1000),
    String(storedvalues),
    writes === undefined ? "-" : `${writes} of ${writesmax}`,
    name,
  ]
}
