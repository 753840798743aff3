/** `keyturn recovery-key create`, `list` and `revoke`: what opens the keyring besides the token. */
import { humanDuration } from "../api/text/human-duration.ts"
import type { RecoveryKeyListed } from "../server/key-list.ts"
import { type ConnectOptions, connect } from "./connect.ts"
import { type Context, note, type OutputOptions, say, show } from "./context.ts"
import { aligned } from "./text.ts"

/** Standard output has the key, and nothing else. */
export async function createRecoveryKey(options: ConnectOptions, context: Context): Promise<void> {
  const client = await connect(options, context)
  const { recoveryKey, id } = await client.createRecoveryKey()
  say(context, recoveryKey)
  note(context, "this key is shown once: keep it apart from the data and the token")
  note(context, `it is listed, and can be revoked, by its id ${id}`)
}

export async function listRecoveryKeys(
  options: ConnectOptions & OutputOptions,
  context: Context,
): Promise<void> {
  const recoverykeys = await (await connect(options, context)).recoveryKeys()
  show(context, options, { json: { recoverykeys }, text: recoveryKeysText(recoverykeys) })
}

function recoveryKeysText(listed: readonly RecoveryKeyListed[]): string {
  if (listed.length === 0) return "No recovery keys\n"
  const rows = [
    ["Created", "Age", "ID"],
    ["-------", "---", "--"],
    ...listed.map(({ id, created, ageseconds }) => [
      created.replace(/\.\d+Z$/, "Z"),
      humanDuration(ageseconds * 1000),
      id,
    ]),
  ]
  return `${aligned(rows).join("\n")}\n`
}

export async function revokeRecoveryKey(
  id: string,
  options: ConnectOptions,
  context: Context,
): Promise<void> {
  const client = await connect(options, context)
  await client.revokeRecoveryKey(id)
  say(context, `recovery key ${id} revoked`)
  note(
    context,
    "copies of the datastore from before still open by it, and hold the token of their time: where somebody else may have both, run: keyturn token rotate",
  )
}
