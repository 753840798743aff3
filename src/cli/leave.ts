/** `keyturn server leave`. */
import { type ConnectOptions, connect } from "./connect.ts"
import { type Context, note } from "./context.ts"

export async function leave(options: ConnectOptions, context: Context): Promise<void> {
  const client = await connect(options, context)
  await client.leave()
  note(
    context,
    "the server has left its cluster and ends; its data directory is of no use to the others any more",
  )
}
