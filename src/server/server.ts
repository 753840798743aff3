/** One running server, put together: data directory, datastore, keyring, certificates, listener, and what goes on in the
 *  background. Everything is given back in the opposite order, whether the start succeeded or not. */
import { once } from "node:events"
import { arch, platform, release } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import type { Logger } from "pino"
import { createApi } from "../api/api.ts"
import { parseTokenFile, type User } from "../api/request/auth.ts"
import { Metrics } from "../api/routes/metrics.ts"
import { runNamespaces } from "../api/verbs/namespace-controller.ts"
import { ensureNamespaces } from "../api/verbs/namespaces.ts"
import { openKeyring } from "../cluster/bootstrap.ts"
import { ensureCertificates, servingNames } from "../cluster/certificates.ts"
import { claimDatabase, type DataDirPaths, openDataDir } from "../cluster/data-dir.ts"
import type { EmbeddedEtcd } from "../cluster/embedded-etcd.ts"
import { readNamed } from "../cluster/files.ts"
import { localUrl, writeKubeconfig } from "../cluster/kubeconfig.ts"
import { isShown } from "../cluster/encryption-files.ts"
import { hashMismatch, type NodeFacts, shownHashes } from "../cluster/node.ts"
import { isShort, SHORT } from "../cluster/token.ts"
import { isKnown } from "../errors.ts"
import type { Keyring } from "../keyring/keyring.ts"
import type { Keys } from "../registry/keys.ts"
import { Registry } from "../registry/registry.ts"
import { batchesBeside } from "../rewriter/batches-beside.ts"
import { runOperations } from "../rewriter/operations.ts"
import type { Run } from "../rewriter/run.ts"
import { StoredSecrets } from "../rewriter/stored-secrets.ts"
import { BEAT_MS } from "../rotation/lease.ts"
import { shellWord } from "../shell-word.ts"
import type { Store } from "../store/store.ts"
import { Background, CERTIFICATES_EVERY_MS } from "./background.ts"
import { databaseFiles, openDatastore } from "./datastore.ts"
import { leaveAgain, reset, settleRestore, startEmbedded, tendEmbedded } from "./embedded.ts"
import { followKeyring } from "./follow.ts"
import { keyWrites, limitsWatch } from "./limits.ts"
import { listen } from "./listener.ts"
import { makeMembership } from "./membership.ts"
import { agreedFlags, type ServerOptions } from "./options.ts"
import { overdueScrub } from "./overdue-scrub.ts"
import { ApiPacer } from "./pacer.ts"
import { Publisher } from "./publish.ts"
import { addSecretsStored } from "./secrets-metric.ts"
import { Servers } from "./servers.ts"
import { makeSupervisor } from "./supervisor.ts"

export interface ServerContext {
  readonly options: ServerOptions
  readonly hostname: string
  readonly version: string
  /** How the person who started it calls the program. */
  readonly command: string
  readonly now: () => Date
  /** Milliseconds of a clock that never goes back. */
  readonly monotonicMs: () => number
  readonly log: Logger
  /** What the person who starts the server is to read. */
  readonly say: (line: string) => void
  /** Ends the server, gracefully. */
  readonly signal: AbortSignal
}

/** The Node's heartbeat is a kubelet's. */
const HEARTBEAT_EVERY_MS = 5 * 60_000
const ATTEND_EVERY_MS = 1_000
const LIMITS_EVERY_MS = 10_000
const HISTORY_KEPT_MS = 5 * 60_000
const RETRY_MS = 5_000
const SCRUB_EVERY_MS = 30_000
/** The user that history names where a limit asked for a verb. */
const AUTO_ROTATE = "--auto-rotate"

/** Resolves when the server has ended. Throws KnownError where it cannot start. */
export async function runServer(context: ServerContext): Promise<void> {
  await startAndServe(context)
  context.log.info("ended")
}

async function startAndServe(context: ServerContext): Promise<void> {
  const { options, now, log } = context
  const files = readNamedFiles(options)
  await using stack = new AsyncDisposableStack()
  const { paths, release } = openDataDir(options.dataDir, { now: now() })
  stack.defer(release)
  settleRestore(context, paths)
  if (options.clusterReset) return reset(context, paths)
  const embedded = await startEmbedded(context, paths)
  if (embedded !== undefined) stack.defer(() => embedded.stop())
  else if (options.datastore.kind === "sqlite")
    stack.defer(claimDatabase(options.datastore.path, { now: now() }))
  const store = embedded
    ? await embedded.open()
    : await openDatastore(options.datastore, { log, signal: context.signal })
  if (store === undefined) return
  stack.defer(() => store.close())
  const { keys, how, takenIn, destroyed } = await openKeyring({
    store,
    paths,
    now,
    server: options.nodeName,
    token: options.token,
    recoveryKey: files.recoveryKey,
    configuration: files.configuration,
    firstKey: options.secretsEncryption ? options.secretsEncryptionProvider : null,
  }).catch(async (error: unknown) => {
    if (embedded !== undefined) await leaveAgain(embedded, { error, log })
    throw error
  })
  if (how === "found") log.info("the datastore held no keyring: this start made it")
  if (how === "recovered")
    log.warn(
      `opened by the recovery key: the token now is the one in ${paths.token}, earlier ones open earlier backups`,
    )
  if (takenIn.length > 0)
    log.warn(
      { keys: takenIn },
      "the keyring of the datastore lacked keys that a file here has; they are taken in, for reading",
    )
  else if (how === "joined" && !isShown(paths, keys.view.record.keyring))
    log.info("the keyring of the datastore is not the one that the files here show: it is adopted")
  if (destroyed.length > 0)
    log.warn(
      { keys: destroyed, file: files.configuration?.file },
      "the file of --encryption-provider-config holds keys that were destroyed: they are not taken in; take them out of it",
    )
  warnOfShort(keys.view.record.keyring, context)
  sayWhatDecides(keys.view.record.keyring, context)
  await serve({ context, files, store, embedded, keys, paths, stack })
}

interface Parts {
  readonly context: ServerContext
  readonly files: NamedFiles
  readonly store: Store
  readonly embedded: EmbeddedEtcd | undefined
  readonly keys: Keys
  readonly paths: DataDirPaths
  readonly stack: AsyncDisposableStack
}

async function serve(parts: Parts): Promise<void> {
  const { context, files, store, embedded, keys, paths, stack } = parts
  const { options, now, monotonicMs, log, signal } = context
  const datastore = embedded?.datastore ?? options.datastore
  const registry = new Registry(store, keys)
  const { nodeName: server, encryptionReload: reload } = options
  const publisher = new Publisher({
    keys,
    registry,
    paths,
    now,
    node: nodeFacts(context, embedded),
    reload,
  })
  const certificates = () =>
    ensureCertificates({
      paths,
      authorities: keys.view.record.keyring.authorities,
      names: servingNames({
        hostname: context.hostname,
        ...options,
        tlsSans: [options.nodeName, ...options.tlsSans, ...ownAddress(context, embedded)],
      }),
      now: now(),
    })
  const { serving, admin, issued } = await certificates()
  for (const sentence of issued) log.info(sentence)

  const servers = new Servers({
    registry,
    keys,
    name: options.nodeName,
    leavesWithNode: embedded !== undefined,
    isAlone: datastore.kind === "sqlite",
    flags: agreedFlags(options),
    publish: () => publisher.renew(),
    now,
    monotonicMs,
    warn: (sentence) => log.warn(sentence),
  })
  const background = new Background(log)
  const pacer = new ApiPacer(monotonicMs)
  let trouble: string | undefined
  const supervisor = makeSupervisor({
    keys,
    registry,
    paths,
    store,
    nodeName: server,
    files: databaseFiles(datastore),
    monotonicMs,
    shown: () => publisher.shown,
    provider: options.secretsEncryptionProvider,
    now,
    mismatch: async () => hashMismatch(await shownHashes(registry)),
    publish: () => publisher.publish(),
    taken: ({ verb, target, user, address }) =>
      log.info({ ...(target && { target }), user, address }, `${verb} is taken`),
    trouble: () => trouble,
    servers: () => servers.status(),
    limits: options,
    engine: datastore.kind,
    agree: { reload, signal: background.signal },
  })
  const { over, ...membership } = makeMembership({ embedded, registry, nodeName: server })
  const metrics = new Metrics()
  metrics.gaugeOf(
    "keyturn_key_writes",
    "Values that were sealed under a key whose writes are counted, and those that servers have reserved.",
    () => keyWrites(keys),
  )
  const storedSecrets = new StoredSecrets(store, keys)
  addSecretsStored(metrics, storedSecrets)
  const api = createApi({
    metrics,
    registry,
    supervisor: { ...supervisor, ...membership },
    serverPassword: () => keys.view.record.keyring.password,
    health: () => ({ published: publisher.published }),
    answered: (answer) => pacer.answered(answer),
    tokens: files.tokens,
    version: context.version,
    now,
    monotonicMs,
    log,
    signal: background.signal,
  })
  const { server: serverCa, client: clientCa } = keys.view.record.keyring.authorities
  const listener = await listen({
    bindAddress: options.bindAddress,
    port: options.httpsListenPort,
    serving,
    clientCa: clientCa.cert,
    handle: api,
  })
  // At once: the background's signal ends the watches, which the listener waits for.
  stack.defer(async () => void (await Promise.all([background.stop(), listener.close()])))
  const url = localUrl({ bindAddress: options.bindAddress, port: listener.port })
  const kubeconfig = { path: options.writeKubeconfig, mode: options.writeKubeconfigMode }
  const writeConfig = (pair: typeof admin) =>
    writeKubeconfig(kubeconfig, { url, serverCa: serverCa.cert, admin: pair })
  writeConfig(admin)

  // Only now: a start that finds the port taken must take no slot from the server that has it.
  await keys.enroll(server, { now: now() })
  await ensureNamespaces(registry, now())
  await servers.renew()
  await publisher.publish()
  background.often("renewing the lease", BEAT_MS, () => servers.beat())
  background.often("watching the other servers", ATTEND_EVERY_MS, () => servers.attend())
  background.often(
    "looking at the key's limits",
    LIMITS_EVERY_MS,
    limitsWatch({
      keys,
      limits: options,
      now,
      take: (request) => supervisor.take(request, { user: AUTO_ROTATE, address: "" }),
      log,
    }),
  )
  background.run("rewriting", (stop) =>
    rewriting({
      run: {
        store,
        keys,
        server: options.nodeName,
        now,
        monotonicMs,
        signal: stop,
        pacer,
        batches: batchesBeside(store, datastore),
      },
      publisher,
      log,
      setTrouble: (seen) => void (trouble = seen),
    }),
  )
  background.run("counting what is stored", (stop) => storedSecrets.follow(stop))
  background.run("following the keyring", (stop) =>
    followKeyring({ store, keys, publisher, paths, server, now, log, signal: stop }),
  )
  background.run("ending namespaces", (stop) => runNamespaces({ registry, now, log, signal: stop }))
  background.every("compaction", HISTORY_KEPT_MS, compaction(store))
  background.every("certificates", CERTIFICATES_EVERY_MS, async () => {
    const renewed = await certificates()
    for (const sentence of renewed.issued) log.info(sentence)
    listener.setServing(renewed.serving)
    writeConfig(renewed.admin)
  })
  background.fromNowOn("clearing what earlier keyrings left", SCRUB_EVERY_MS, overdueScrub(keys))
  background.every("the node's heartbeat", HEARTBEAT_EVERY_MS, () => publisher.renew())
  if (embedded !== undefined) tendEmbedded(embedded, { store, log, monotonicMs, background })
  greet(context, url, keys.view.record.keyring)
  const ended = signal.aborted ? undefined : once(signal, "abort")
  await Promise.race([ended, over])
  log.info("ending: requests that run are finished, no new ones are taken")
}

/** Runs what the operation record asks for; a failure waits, is told, and tried again from where it stopped. */
const rewriting = ({ run, publisher, log, setTrouble }: Rewriting): Promise<void> =>
  runOperations(run, {
    began: ({ id, kind, looked }) =>
      log.info({ id }, looked === 0 ? `${kind} begins` : `${kind} goes on where it stopped`),
    tookOver: ({ id, kind, holder }) =>
      log.info({ id }, `${kind} is taken over${holder === null ? "" : ` from ${holder}`}`),
    async ended({ id, kind, state, rewritten, resumed, retired, kept, unreadable }) {
      await publisher.follow()
      log.info({ id, state, rewritten, resumed, retired, kept, unreadable }, `${kind} ended`)
    },
    async failed(err) {
      log.error({ err }, "rewriting stopped; it goes on by itself")
      setTrouble(isKnown(err) ? err.message : "see the server's log")
      await sleep(RETRY_MS, undefined, { signal: run.signal }).catch(() => {})
      setTrouble(undefined)
    },
  })

interface Rewriting {
  readonly run: Run
  readonly publisher: Publisher
  readonly log: Logger
  /** Why it stands still; undefined: it goes on. */
  readonly setTrouble: (seen: string | undefined) => void
}

/** Forgets, as kube-apiserver's compactor does, what was the newest revision when it last ran. */
function compaction(store: Store): () => Promise<void> {
  let then = 0
  return async () => {
    const due = then
    then = await store.revision()
    if (due > 0) await store.compact(due)
  }
}

type NamedFiles = ReturnType<typeof readNamedFiles>

/** Read before anything is made. Throws FilesUnreadable, for a file that is named must be there, and ConfigInvalid. */
function readNamedFiles(options: ServerOptions) {
  const { recoveryKeyFile, tokenAuthFile, encryptionProviderConfig: file } = options
  return {
    recoveryKey: recoveryKeyFile === null ? null : readNamed(recoveryKeyFile).trim(),
    tokens:
      tokenAuthFile === null
        ? new Map<string, User>()
        : parseTokenFile(tokenAuthFile, readNamed(tokenAuthFile)),
    configuration: file === null ? null : { file, text: readNamed(file) },
  }
}

function warnOfShort({ password }: Keyring, { log }: ServerContext): void {
  if (isShort(password)) log.warn(`${SHORT}; run: keyturn token rotate`)
}

/** The keyring decides whether values are encrypted; where the flag says otherwise, one line tells. */
function sayWhatDecides({ intent }: Keyring, { options, log }: ServerContext): void {
  if (intent === "encrypted" && !options.secretsEncryption)
    log.info(
      "started without --secrets-encryption on encrypted data: it stays encrypted, for the keyring decides",
    )
  if (intent !== "encrypted" && options.secretsEncryption)
    log.warn(
      "started with --secrets-encryption on data that is not encrypted; run: keyturn secrets-encrypt enable",
    )
}

/** Where other servers reach this one: as the flag says, else where etcd's members do. */
function ownAddress(
  { options: { nodeIp } }: ServerContext,
  embedded: EmbeddedEtcd | undefined,
): string[] {
  const address = nodeIp ?? embedded?.nodeIp
  return address === undefined ? [] : [address]
}

const nodeFacts = (context: ServerContext, embedded: EmbeddedEtcd | undefined): NodeFacts => {
  const { options, version } = context
  const [address] = ownAddress(context, embedded)
  const bound = ["0.0.0.0", "::"].includes(options.bindAddress) ? "127.0.0.1" : options.bindAddress
  return {
    name: options.nodeName,
    addresses: [
      { type: "InternalIP", address: address ?? bound },
      { type: "Hostname", address: options.nodeName },
    ],
    version,
    os: { platform: platform(), arch: arch() === "x64" ? "amd64" : arch(), release: release() },
  }
}

function greet(
  { options, say, command }: ServerContext,
  url: string,
  { intent }: Pick<Keyring, "intent">,
): void {
  const kubeconfig = `--kubeconfig ${shellWord(options.writeKubeconfig)}`
  const own = `--data-dir ${shellWord(options.dataDir)}`
  say(`keyturn is ready: ${url}`)
  say(`kubeconfig: ${options.writeKubeconfig}`)
  say("try:")
  say(`  kubectl ${kubeconfig} create secret generic demo --from-literal=password=s3cr3t`)
  say(`  ${command} secrets-encrypt status ${own}`)
  say(`  ${command} secrets-encrypt ${intent === "encrypted" ? "rotate-keys" : "enable"} ${own}`)
}
