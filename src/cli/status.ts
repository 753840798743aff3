/** `keyturn secrets-encrypt status`. What K3s does not tell (a running rewrite, values left behind) goes to standard error. */
import {
  describeOperation,
  describeTrouble,
  isRunning,
  leftBehind,
  type OperationSeen,
} from "../rotation/operation.ts"
import type { Status } from "../server/status.ts"
import type { Client } from "./client.ts"
import { type ConnectOptions, connect } from "./connect.ts"
import { type Context, note } from "./context.ts"
import { statusJson, statusText, statusWide } from "./status-text.ts"

/** Forms of the output, by what -o takes. */
const OUTPUTS = {
  text: async (seen) => statusText(seen),
  json: async (seen) => statusJson(seen),
  wide: async (seen, client) => statusWide(seen, await client.archivedKeysInUse()),
} as const satisfies Record<string, (seen: Status, client: Client) => Promise<string>>

export interface StatusOptions extends ConnectOptions {
  readonly output: keyof typeof OUTPUTS
}

export async function status(options: StatusOptions, context: Context): Promise<void> {
  const client = await connect(options, context)
  const seen = await client.status()
  context.stdout.write(await OUTPUTS[options.output](seen, client))
  for (const warning of seen.warnings ?? []) note(context, `warning: ${warning}`)
  const remark = remarkOn(await client.operation())
  if (remark !== null) note(context, remark)
}

function remarkOn(operation: OperationSeen | null): string | null {
  if (operation?.state === "finished") return leftBehind(operation)
  if (operation === null || !isRunning(operation)) return null
  const { kind, trouble } = operation
  return trouble === undefined ? describeOperation(operation) : describeTrouble(kind, trouble)
}
