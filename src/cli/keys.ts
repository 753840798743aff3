/** `keyturn secrets-encrypt keys` and `keys destroy`. */
import { humanDuration } from "../api/text/human-duration.ts"
import { KnownError } from "../errors.ts"
import { noSuchKey } from "../rotation/destroy.ts"
import { KEY_TYPES } from "../server/status.ts"
import type { KeyListed } from "../server/key-list.ts"
import type { Client } from "./client.ts"
import { type ConnectOptions, connect } from "./connect.ts"
import { type Context, note, type OutputOptions, say, show } from "./context.ts"
import { aligned } from "./text.ts"

export async function listKeys(
  options: ConnectOptions & OutputOptions,
  context: Context,
): Promise<void> {
  const keys = await (await connect(options, context)).keys()
  show(context, options, { json: { keys }, text: keysText(keys) })
}

export interface DestroyOptions extends ConnectOptions {
  readonly confirm?: string
}

export async function destroyKey(
  name: string,
  options: DestroyOptions,
  context: Context,
): Promise<void> {
  const client = await connect(options, context)
  const again = options.confirm ?? (await askAgain(name, client, context))
  if (again !== name)
    throw new KnownError(
      "UsageInvalid",
      `the name given again is not "${name}": nothing is changed`,
    )
  const { destroyed, outOfReach } = await client.destroyKey(name)
  say(context, `key "${name}" destroyed`)
  note(context, `its bytes were removed at ${destroyed}; these may still hold a copy:`)
  for (const copy of outOfReach) note(context, `  ${copy}`)
  note(
    context,
    'a copy opens with the token of its time: see docs/operate/keys.md, "Destroy a key"',
  )
}

async function askAgain(name: string, client: Client, { ask }: Context): Promise<string> {
  if (ask === null) {
    const seen = "there is no terminal to ask for the name again; give it with --confirm"
    throw new KnownError("UsageInvalid", seen)
  }
  if (!(await client.keys()).some((key) => key.name === name)) throw noSuchKey(name)
  return ask(
    `This cannot be undone: backups with values under "${name}" do not open without it.\nThe name of the key again: `,
  )
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
    storedvalues === undefined ? "-" : String(storedvalues),
    writes === undefined ? "-" : `${writes} of ${writesmax}`,
    name,
  ]
}
