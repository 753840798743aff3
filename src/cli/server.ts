/** `keyturn server`: from arguments, environment and configuration file to a running server. */
import { runServer } from "../server/server.ts"
import { serverOptions } from "./connect.ts"
import { type Context, say } from "./context.ts"
import { makeLog } from "./log.ts"

export async function server(argv: readonly string[], context: Context): Promise<void> {
  const options = serverOptions(argv, context)
  const { now, hostname, version, signal, stderr } = context
  await runServer({
    options,
    hostname,
    version,
    now,
    log: makeLog(options, { now, write: stderr.write }),
    say: (line) => say(context, line),
    signal,
  })
}
