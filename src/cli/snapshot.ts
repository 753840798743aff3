/** `keyturn snapshot`: save asks the running server; list and restore work on the data directory of this machine. */
import { existsSync } from "node:fs"
import { type DataDirPaths, dataDirPaths } from "../cluster/data-dir.ts"
import { restoreSnapshot } from "../cluster/restore.ts"
import { isSqlite, restoreEtcd } from "../cluster/restore-etcd.ts"
import { findSnapshot, listSnapshots as list } from "../cluster/snapshots.ts"
import { readNamed } from "../cluster/files.ts"
import { KnownError } from "../errors.ts"
import { joiningAgain } from "../server/embedded.ts"
import type { ServerOptions } from "../server/options.ts"
import { type ConnectOptions, connect, serverOptionsOf } from "./connect.ts"
import { type Context, note, type OutputOptions, say, show } from "./context.ts"
import { makeLog } from "./log.ts"
import { aligned } from "./text.ts"

export interface SaveOptions extends ConnectOptions {
  readonly name: string
}

export async function saveSnapshot(options: SaveOptions, context: Context): Promise<void> {
  const client = await connect(options, context)
  say(context, await client.saveSnapshot(options.name))
  note(context, "the token of now opens it: keep that as long as the copy")
}

export async function listSnapshots(
  options: ConnectOptions & OutputOptions,
  context: Context,
): Promise<void> {
  const found = list(dataDirPaths(localServer(options, context).dataDir))
  const rows = found.map(({ name, bytes, saved }) => [name, String(bytes), saved])
  const lines = aligned([["Name", "Bytes", "Saved"], ...rows])
  show(context, options, { json: found, text: `${lines.join("\n")}\n` })
}

export interface RestoreOptions extends ConnectOptions {
  readonly tokenFile?: string
  readonly recoveryKeyFile?: string
}

export async function restore(
  snapshot: string,
  options: RestoreOptions,
  context: Context,
): Promise<void> {
  const local = localServer(options, context)
  const { dataDir, datastore, nodeName: server, token, recoveryKeyFile } = local
  if (datastore.kind !== "sqlite")
    throw new KnownError(
      "UsageInvalid",
      "this datastore is a database server's: restore it with that database's own tools",
    )
  const paths = dataDirPaths(dataDir)
  const path = findSnapshot(paths, snapshot)
  const recoveryKey = recoveryKeyFile === null ? null : readNamed(recoveryKeyFile).trim()
  const what = { dataDir, server, snapshot: path, token, recoveryKey }
  const isEtcd = isForEtcd(path, { ...paths, database: datastore.path })
  const kept = isEtcd
    ? await restoreEtcd({ ...context, ...what, options: local, log: logOf(local, context) })
    : await restoreSnapshot({ ...what, database: datastore.path, now: context.now() })
  if (kept !== null) note(context, `the datastore of before is kept, with its token: ${kept}`)
  const opener = recoveryKeyFile === null ? "" : ` with --recovery-key-file ${recoveryKeyFile}`
  note(context, `restored; now start the server${opener}`)
  if (isEtcd) for (const line of joiningAgain(context.command, local)) note(context, line)
}

/** The server's datastore is what it was; where there is none yet, what the snapshot is. */
function isForEtcd(
  snapshot: string,
  { etcd, state, database }: DataDirPaths & { readonly database: string },
): boolean {
  if (database !== state) return false
  return existsSync(etcd.member) || (!existsSync(state) && !isSqlite(snapshot))
}

/** etcd is started on the way, to look into the snapshot. Only what it warns of is told. */
const logOf = (options: ServerOptions, { now, stderr }: Context) =>
  makeLog({ ...options, logLevel: "warn" }, { now, write: stderr.write })

function localServer(options: RestoreOptions, context: Context) {
  const { dataDir, token, tokenFile, recoveryKeyFile } = options
  const given = {
    "data-dir": dataDir,
    token,
    "token-file": tokenFile,
    "recovery-key-file": recoveryKeyFile,
  }
  return serverOptionsOf(given, context)
}
