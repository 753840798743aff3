/** `keyturn secrets-encrypt verify`: asks a running server, or reads a datastore itself where its address is given. */
import { readNamed } from "../cluster/files.ts"
import { dataDirPaths } from "../cluster/data-dir.ts"
import { readView } from "../cluster/read-keyring.ts"
import { KnownError } from "../errors.ts"
import { describeOperation } from "../rotation/operation.ts"
import { type Verification, verify as verifyStored } from "../rewriter/verify.ts"
import { databaseFiles, openForReading } from "../server/datastore.ts"
import { type ConnectOptions, connect, serverOptionsOf } from "./connect.ts"
import { type Context, note, type OutputOptions, show } from "./context.ts"
import { makeLog } from "./log.ts"
import { verificationText } from "./verify-text.ts"

export interface VerifyOptions extends ConnectOptions, OutputOptions {
  readonly key?: string
  readonly open?: boolean
  readonly datastoreEndpoint?: string
  readonly datastoreCafile?: string
  readonly datastoreCertfile?: string
  readonly datastoreKeyfile?: string
  readonly encryptionProviderConfig?: string
}

/** Throws NotProven, after it has printed what it found. */
export async function verify(options: VerifyOptions, context: Context): Promise<void> {
  const found = await (options.datastoreEndpoint === undefined ? online : offline)(options, context)
  show(context, options, { json: found, text: verificationText(found) })
  const asked = found.keys.find(({ name }) => name === options.key)
  if (asked?.state === "unknown")
    note(context, `no key is known by the name "${asked.name}": is it spelt so?`)
  if (found.problems.length > 0) throw new KnownError("NotProven", found.problems.join("; "))
}

async function online(options: VerifyOptions, context: Context): Promise<Verification> {
  const { key, open = false, encryptionProviderConfig } = options
  if (encryptionProviderConfig !== undefined)
    throw new KnownError(
      "UsageInvalid",
      "--encryption-provider-config is for a datastore that --datastore-endpoint names",
    )
  const client = await connect(options, context)
  const before = await client.operation()
  const found = await client.verify({ key, opens: open })
  if (found.problems.length > 0 && before?.state === "running")
    note(context, `${describeOperation(before)}; what it had not come to is counted as it was`)
  return found
}

async function offline(options: VerifyOptions, context: Context): Promise<Verification> {
  const { key, open: opens = false, dataDir, token } = options
  const given = {
    "data-dir": dataDir,
    token,
    "datastore-endpoint": options.datastoreEndpoint,
    "datastore-cafile": options.datastoreCafile,
    "datastore-certfile": options.datastoreCertfile,
    "datastore-keyfile": options.datastoreKeyfile,
    "encryption-provider-config": options.encryptionProviderConfig,
  }
  const local = serverOptionsOf(given, context)
  const { datastore, encryptionProviderConfig: file } = local
  const configuration = file === null ? null : { file, text: readNamed(file) }
  const log = makeLog({ ...local, logLevel: "warn" }, { ...context, write: context.stderr.write })
  const store = await openForReading(datastore, log)
  try {
    const paths = dataDirPaths(local.dataDir)
    const secrets = { paths, token: local.token, recoveryKey: null }
    const view = await readView(store, { ...secrets, configuration })
    const { signal } = context
    return await verifyStored(store, view, { key, opens, files: databaseFiles(datastore), signal })
  } finally {
    await store.close()
  }
}
