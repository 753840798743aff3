/** `keyturn server`: from arguments, environment and configuration file to a running server. */
import { serverOptions } from "./connect.ts"
import { type Context, say } from "./context.ts"

export async function server(argv: readonly string[], context: Context): Promise<void> {
  const options = serverOptions(argv, context)
  const { makeLog } = await import("./log.ts")
  const { runServer } = await import("../server/server.ts")
  const log = makeLog(options, { now: context.now, write: context.stderr.write })
  await runServer({ ...context, options, log, say: (line) => say(context, line) })
}
