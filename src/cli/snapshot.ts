/** `keyturn snapshot`: save asks the running server; list and restore work on the data directory of this machine. */
import { dataDirPaths } from "../cluster/data-dir.ts"
import { restoreSnapshot } from "../cluster/restore.ts"
import { findSnapshot, listSnapshots as list } from "../cluster/snapshots.ts"
import { readNamed } from "../cluster/files.ts"
import { KnownError } from "../errors.ts"
import { type ConnectOptions, connect, serverOptions } from "./connect.ts"
import { type Context, note, say } from "./context.ts"
import { aligned } from "./status-text.ts"

export interface SaveOptions extends ConnectOptions {
  readonly name: string
}

export async function saveSnapshot(options: SaveOptions, context: Context): Promise<void> {
  const client = await connect(options, context)
  say(context, await client.saveSnapshot(options.name))
  note(context, "the token of now opens it: keep that as long as the copy")
}

export interface ListOptions extends ConnectOptions {
  readonly output: "text" | "json"
}

export async function listSnapshots(options: ListOptions, context: Context): Promise<void> {
  const found = list(dataDirPaths(localServer(options, context).dataDir))
  if (options.output === "json") return say(context, JSON.stringify(found, null, "\t"))
  const rows = found.map(({ name, bytes, saved }) => [name, String(bytes), saved])
  for (const line of aligned([["Name", "Bytes", "Saved"], ...rows])) say(context, line)
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
  const { dataDir, datastore, token, recoveryKeyFile, now } = {
    ...localServer(options, context),
    now: context.now(),
  }
  if (datastore.kind !== "sqlite")
    throw new KnownError(
      "UsageInvalid",
      "this datastore is a database server's: restore it with that database's own tools",
    )
  const kept = await restoreSnapshot({
    dataDir,
    database: datastore.path,
    snapshot: findSnapshot(dataDirPaths(dataDir), snapshot),
    token,
    recoveryKey: recoveryKeyFile === null ? null : readNamed(recoveryKeyFile).trim(),
    now,
  })
  if (kept !== null) note(context, `the datastore of before is kept, with its token: ${kept}`)
  const opener = recoveryKeyFile === null ? "" : ` with --recovery-key-file ${recoveryKeyFile}`
  note(context, `restored; now start the server${opener}`)
}

/** As `keyturn server` with these flags would see it. */
function localServer(options: RestoreOptions, context: Context) {
  const { dataDir, token, tokenFile, recoveryKeyFile } = options
  const given = {
    "data-dir": dataDir,
    token,
    "token-file": tokenFile,
    "recovery-key-file": recoveryKeyFile,
  }
  const argv = Object.entries(given).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}=${value}`],
  )
  return serverOptions(argv, context)
}
