/** Which member of the embedded etcd's cluster a data directory is: `db/etcd/member.json`, written before etcd is first started,
 *  and the command line that follows from it. */
import { randomBytes } from "node:crypto"
import { copyFileSync, existsSync, rmSync } from "node:fs"
import { networkInterfaces } from "node:os"
import { join } from "node:path"
import { isIPv6 } from "node:net"
import { KnownError } from "../errors.ts"
import { beforeRestore, type DataDirPaths } from "./data-dir.ts"
import { makePrivateDir, moveDurably, named, readIfPresent, writeDurably } from "./files.ts"

export interface EtcdMember {
  /** The Node's name and eight random digits: a server that comes back with an emptied directory is another member. */
  readonly name: string
  /** Where the others find it, as the cluster knows it. */
  readonly peerUrl: string
  /** The members at its start, as etcd's --initial-cluster takes them; null: it asked to join, and was not answered yet. */
  readonly cluster: string | null
  readonly isFirst: boolean
}

type EtcdPaths = DataDirPaths["etcd"]

export function readMember({ member: path }: EtcdPaths): EtcdMember | null {
  const text = readIfPresent(path)
  if (text === null) return null
  try {
    return JSON.parse(text) as EtcdMember
  } catch (cause) {
    throw new KnownError("FilesUnreadable", `${path} is not JSON`, { cause })
  }
}

export function writeMember({ data, member: path }: EtcdPaths, member: EtcdMember): void {
  makePrivateDir(data)
  writeDurably(path, `${JSON.stringify(member)}\n`)
}

/** Puts a finished copy in the place of the data; beside a database it is one of a move that did not come to its end, and goes.
 *  Returns the folder in which what was there lies; null where there was nothing. */
export function settleMoved(
  { etcd, state, db, token }: DataDirPaths,
  { now }: { readonly now: Date },
): string | null {
  const { data, moving } = etcd
  if (!existsSync(moving.data)) return null
  if (existsSync(state)) {
    named(`cannot remove ${moving.data}`, () => rmSync(moving.data, { recursive: true }))
    return null
  }
  let kept: string | null = null
  if (existsSync(data)) {
    kept = beforeRestore(db, now)
    makePrivateDir(kept)
    if (existsSync(token)) copyFileSync(token, join(kept, "token"))
    moveDurably(data, join(kept, "etcd"))
  }
  moveDurably(moving.data, data)
  return kept
}

export const newMemberName = (nodeName: string): string =>
  `${nodeName}-${randomBytes(4).toString("hex")}`

/** Of a member that was started. */
export const nodeOfMember = (name: string): string => name.replace(/-[0-9a-f]{8}$/, "")

export const httpsUrl = (address: string, port: number): string =>
  `https://${isIPv6(address) ? `[${address}]` : address}:${port}`

/** The address at which other machines find this one: `bound` where that is one, else this machine's first. */
export function addressOf(bound: string): string {
  if (!["0.0.0.0", "::"].includes(bound)) return bound
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  return all.find(({ internal, family }) => !internal && family === "IPv4")?.address ?? "127.0.0.1"
}

export interface EtcdPlaces {
  readonly paths: EtcdPaths
  readonly etcdClientPort: number
  readonly bindAddress: string
}

/** An election begins 2.5 to 5 s after the leader is gone: a disk that is busy for a second does not cost it its place. */
export function etcdArgs(
  { name, peerUrl, cluster, isFirst }: EtcdMember,
  { paths, etcdClientPort, bindAddress }: EtcdPlaces,
): string[] {
  const clientUrl = httpsUrl("127.0.0.1", etcdClientPort)
  const flags = {
    name,
    "listen-client-urls": clientUrl,
    "advertise-client-urls": clientUrl,
    "listen-peer-urls": httpsUrl(bindAddress, Number(new URL(peerUrl).port || 443)),
    "initial-advertise-peer-urls": peerUrl,
    "initial-cluster": cluster ?? "",
    "initial-cluster-state": isFirst ? "new" : "existing",
    "client-cert-auth": "true",
    "trusted-ca-file": paths.serverCa.cert,
    "cert-file": paths.server.cert,
    "key-file": paths.server.key,
    "peer-client-cert-auth": "true",
    "peer-trusted-ca-file": paths.peerCa.cert,
    "peer-cert-file": paths.peer.cert,
    "peer-key-file": paths.peer.key,
    "heartbeat-interval": "250",
    "election-timeout": "2500",
    // A rotation writes every value again before the first are cleared; etcd's own 2 GiB would end that for values of 1 GiB.
    "quota-backend-bytes": String(8 * 1024 ** 3),
    logger: "zap",
    "log-outputs": "stderr",
    "log-level": "warn",
  }
  return [
    `--data-dir=${paths.data}`,
    ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`),
  ]
}
