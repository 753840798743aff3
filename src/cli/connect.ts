/** From what a command was given to a client of the right server. What is not given is as the server of this machine has it:
 *  the same environment and configuration file are read, so that on the server's own machine no flag is needed. */
import { dataDirPaths, readToken } from "../cluster/data-dir.ts"
import { readIfPresent } from "../cluster/files.ts"
import { localUrl } from "../cluster/kubeconfig.ts"
import { parseToken, passwordOf } from "../cluster/token.ts"
import { KnownError } from "../errors.ts"
import type { FlagName } from "../server/flags.ts"
import { parseServerOptions, type ServerOptions } from "../server/options.ts"
import { Client, TIMEOUT_MS } from "./client.ts"
import { type Context, note } from "./context.ts"
import { trust } from "../cluster/trust.ts"

/** The flags that every command of a server has. */
export interface ConnectOptions {
  readonly dataDir?: string
  readonly server?: string
  readonly token?: string
}

export async function connect(options: ConnectOptions, context: Context): Promise<Client> {
  const { env, signal } = context
  const local = () => serverOptionsOf({ "data-dir": options.dataDir }, context)
  const server = serverUrl(options.server ?? (env["KEYTURN_URL"] || urlOnDisk(local())))
  const text = options.token ?? (env["KEYTURN_TOKEN"] || tokenOnDisk(local()))
  const password = passwordOf(text)
  const { agent, warning } = await trust(server, parseToken(text), {
    signal,
    timeoutMs: TIMEOUT_MS,
  })
  if (warning !== null) note(context, `warning: ${warning}`)
  return new Client({ server, password, agent, signal })
}

/** `argv` as after `keyturn server`. */
export const serverOptions = (argv: readonly string[], context: Context): ServerOptions =>
  parseServerOptions({ ...context, argv, readFile: readIfPresent })

/** As `keyturn server` with these flags would see it; undefined: not given. */
export const serverOptionsOf = (
  flags: { readonly [name in FlagName]?: string | undefined },
  context: Context,
): ServerOptions =>
  serverOptions(
    Object.entries(flags).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}=${value}`],
    ),
    context,
  )

function serverUrl(text: string): URL {
  const url = URL.parse(text)
  if (url?.protocol === "https:") return new URL(url.origin)
  const seen = url === null ? "none" : `${url.protocol}//${url.host}`
  throw new KnownError("UsageInvalid", `only https:// URLs are supported, invalid scheme: ${seen}`)
}

/** The running server wrote its address into its kubeconfig, with the port that it picked. */
function urlOnDisk({ writeKubeconfig, bindAddress, httpsListenPort }: ServerOptions): string {
  const [, url] = /^ *server: (\S+)$/m.exec(readIfPresent(writeKubeconfig) ?? "") ?? []
  return url ?? localUrl({ bindAddress, port: httpsListenPort })
}

function tokenOnDisk({ dataDir }: ServerOptions): string {
  const paths = dataDirPaths(dataDir)
  const token = readToken(paths)
  if (token !== null) return token
  throw new KnownError("Unauthorized", `no token was given, and there is no file ${paths.token}`)
}
