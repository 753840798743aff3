/** The embedded etcd of a server: founded, joined, or started again, and what the server needs to use it. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown, KnownError } from "../errors.ts"
import { openEtcd } from "../store/etcd.ts"
import { type Members, openMembers } from "../store/etcd-members.ts"
import type { Datastore } from "../store/datastore.ts"
import type { Store } from "../store/store.ts"
import { type DataDirPaths, readToken } from "./data-dir.ts"
import {
  ensureEtcdCertificates,
  readEtcdAuthorities,
  writeEtcdAuthorities,
} from "./etcd-certificates.ts"
import {
  addressOf,
  etcdArgs,
  type EtcdMember,
  httpsUrl,
  newMemberName,
  nodeOfMember,
  readMember,
  writeMember,
} from "./etcd-member.ts"
import { type EtcdLog, EtcdProcess } from "./etcd-process.ts"
import { makeEtcdAuthorities } from "./issue.ts"
import { askToJoin } from "./join.ts"
import type { EtcdAuthorities } from "./pem.ts"

export interface EmbeddedOptions {
  readonly nodeName: string
  readonly nodeIp: string | null
  readonly bindAddress: string
  readonly etcdBinary: string
  readonly etcdClientPort: number
  /** Kept from the first start on, for the others know it. */
  readonly etcdPeerPort: number
  readonly clusterInit: boolean
  /** Of a server of the cluster to be joined. */
  readonly server: string | null
  readonly token: string | null
}

export interface EmbeddedContext {
  readonly options: EmbeddedOptions
  readonly paths: DataDirPaths
  readonly log: EtcdLog
  readonly now: () => Date
  readonly monotonicMs: () => number
  readonly signal: AbortSignal
}

export interface EmbeddedEtcd {
  readonly process: EtcdProcess
  readonly member: EtcdMember
  /** The others took it in at this start. */
  readonly isNew: boolean
  readonly members: Members
  readonly authorities: EtcdAuthorities
  /** Where the other members find this one. */
  readonly nodeIp: string
  readonly datastore: Extract<Datastore, { kind: "etcd" }>
  /** Waits for an etcd that is ready, for which others of its cluster must be there; undefined where the signal came first.
   *  Throws what ended etcd, and what lasts. */
  open(): Promise<Store | undefined>
  /** Issues anew what ends soon; returns a sentence for each. */
  renew(): Promise<string[]>
  stop(): Promise<void>
}

/** With `more` flags for this one start. Throws EtcdMissing, and what {@link askToJoin} throws. */
export async function startEtcd(
  context: EmbeddedContext,
  more: readonly string[] = [],
): Promise<EmbeddedEtcd> {
  const { options, paths, log, now, monotonicMs } = context
  const { member, authorities, isNew } = await membership(context)
  const nodeIp = new URL(member.peerUrl).hostname.replace(/^\[|\]$/g, "")
  const renew = () => ensureEtcdCertificates(paths.etcd, authorities, { nodeIp, now: now() })
  for (const sentence of await renew()) log.info({}, sentence)

  const process = await EtcdProcess.start({
    binary: options.etcdBinary,
    args: [...etcdArgs(member, { ...options, paths: paths.etcd }), ...more],
    mark: `--data-dir=${join(paths.db, "etcd")}`,
    pidFile: paths.etcd.pid,
    log,
    monotonicMs,
  })
  const endpoint = httpsUrl("127.0.0.1", options.etcdClientPort)
  const { client, serverCa } = paths.etcd
  const tls = { ca: serverCa.cert, cert: client.cert, key: client.key }
  const datastore = { kind: "etcd", endpoints: [endpoint], tls } as const
  const members = openMembers(datastore)
  return {
    process,
    member,
    isNew,
    members,
    authorities,
    nodeIp,
    renew,
    datastore,
    open: () => openReady(context, process, datastore),
    async stop() {
      members.close()
      await process.stop()
    },
  }
}

const ATTEMPT_EVERY_MS = 200
const TELL_EVERY_MS = 10_000

async function openReady(
  { log, signal, monotonicMs }: EmbeddedContext,
  process: EtcdProcess,
  datastore: EmbeddedEtcd["datastore"],
): Promise<Store | undefined> {
  const warn = (message: string, err: unknown) => log.warn({ err }, message)
  for (let toldMs = monotonicMs(); !signal.aborted; ) {
    try {
      const opening = openEtcd({ ...datastore, warn })
      const store = await Promise.race([opening, process.over])
      process.ready()
      return store
    } catch (error) {
      if (!isKnown(error, "StoreUnavailable")) throw error
      if (monotonicMs() - toldMs > TELL_EVERY_MS) {
        toldMs = monotonicMs()
        log.warn(
          {},
          `waiting for etcd, which needs more than half of its members: ${error.message}`,
        )
      }
      await sleep(ATTEMPT_EVERY_MS, undefined, { signal }).catch(() => {})
    }
  }
  return undefined
}

interface Membership {
  readonly member: EtcdMember
  readonly authorities: EtcdAuthorities
  readonly isNew: boolean
}

/** What a server was told when it joined may be outdated where its etcd was never started since. */
const mayAskAgain = ({ isFirst }: EtcdMember, { options, paths }: EmbeddedContext): boolean =>
  !isFirst && options.server !== null && !hasData(paths)

/** The member that this directory is, or, on an empty one, becomes. */
async function membership(context: EmbeddedContext): Promise<Membership> {
  const { options, paths, now } = context
  const stored = readMember(paths.etcd)
  const own = readEtcdAuthorities(paths.etcd)
  if (stored !== null && stored.cluster !== null && !mayAskAgain(stored, context)) {
    if (own !== null) return { member: ofItsNode(stored, context), authorities: own, isNew: false }
    throw new KnownError(
      "FilesUnreadable",
      `${paths.etcd.tls} must hold the authorities of the etcd in ${paths.etcd.data}: copy the folder from another server`,
    )
  }
  const name = newMemberName(options.nodeName)
  const peerUrl = newPeerUrl(options)
  const former = stored !== null && stored.peerUrl !== peerUrl && { formerPeerUrl: stored.peerUrl }
  if (options.server === null) {
    if (!options.clusterInit)
      throw new KnownError(
        "UsageInvalid",
        `this server asked to join a cluster and was not taken in: give --server and --token again, or delete ${paths.etcd.member}`,
      )
    const authorities = own ?? (await makeEtcdAuthorities(now()))
    writeEtcdAuthorities(paths.etcd, authorities)
    const member = { name, peerUrl, cluster: `${name}=${peerUrl}`, isFirst: true }
    writeMember(paths.etcd, member)
    return { member, authorities, isNew: false }
  }
  // Before it asks, so that a second try is known by its address.
  writeMember(paths.etcd, { name, peerUrl, cluster: null, isFirst: false })
  const { server } = options
  const token = options.token ?? readToken(paths)
  const { authorities, cluster } = await askToJoin(context, {
    server,
    token,
    name,
    peerUrl,
    ...former,
  })
  writeEtcdAuthorities(paths.etcd, authorities)
  const member = { name, peerUrl, cluster, isFirst: false }
  writeMember(paths.etcd, member)
  return { member, authorities, isNew: true }
}

const hasData = ({ etcd }: DataDirPaths): boolean => existsSync(join(etcd.data, "member", "wal"))

/** By a member's name it goes with its Node. That of a restored one is the machine's, and a Node's may be changed; etcd takes any
 *  name that it is started with. */
function ofItsNode(stored: EtcdMember, { options, paths }: EmbeddedContext): EtcdMember {
  if (nodeOfMember(stored.name) === options.nodeName || !hasData(paths)) return stored
  const member = { ...stored, name: newMemberName(options.nodeName) }
  writeMember(paths.etcd, member)
  return member
}

export const newPeerUrl = (options: EmbeddedOptions): string =>
  httpsUrl(options.nodeIp ?? addressOf(options.bindAddress), options.etcdPeerPort)
