/** What lies in `server/tls/etcd`, under K3s' file names: the two authorities of the embedded etcd, which every server of the
 *  cluster has, and the certificates under them. etcd reads them at each handshake, so what is renewed needs no restart. */
import { ensured, type PairPaths, readPair, whole, writePair } from "./certificates.ts"
import type { DataDirPaths } from "./data-dir.ts"
import { makePrivateDir } from "./files.ts"
import { issueEtcd } from "./issue.ts"
import type { EtcdAuthorities, Pair } from "./pem.ts"

type EtcdPaths = DataDirPaths["etcd"]

/** Null where there are none. Throws FilesUnreadable where one is there in part. */
export function readEtcdAuthorities({ serverCa, peerCa }: EtcdPaths): EtcdAuthorities | null {
  const server = readPair(serverCa)
  const peer = readPair(peerCa)
  if (server === null && peer === null) return null
  return { server: whole(serverCa, server), peer: whole(peerCa, peer) }
}

export function writeEtcdAuthorities(paths: EtcdPaths, { server, peer }: EtcdAuthorities): void {
  makePrivateDir(paths.tls)
  writePair(paths.serverCa, server)
  writePair(paths.peerCa, peer)
}

const LOOPBACK = ["localhost", "127.0.0.1", "::1"]

/** One sentence for each certificate that was issued now, with the reason. `nodeIp`: where the other members find this one. */
export async function ensureEtcdCertificates(
  paths: EtcdPaths,
  { server, peer }: EtcdAuthorities,
  { nodeIp, now }: { readonly nodeIp: string; readonly now: Date },
): Promise<string[]> {
  const recipes: readonly [PairPaths, Pair, name: string, names: readonly string[]][] = [
    [paths.server, server, "etcd-server", LOOPBACK],
    [paths.client, server, "etcd-client", LOOPBACK],
    [paths.peer, peer, "etcd-peer", [...new Set([...LOOPBACK, nodeIp])]],
  ]
  const issued: string[] = []
  for (const [at, ca, name, names] of recipes) {
    const { issued: sentence } = await ensured(at, {
      what: `${name} certificate`,
      wanted: { ca, names, now },
      make: () => issueEtcd(ca, { name, names, now }),
    })
    if (sentence !== null) issued.push(sentence)
  }
  return issued
}
