/** Servers on an embedded etcd, as real processes on this machine. */
import { readFileSync } from "node:fs"
import { isKnown } from "../../src/errors.ts"
import { channelTo } from "../../src/store/etcd-calls.ts"
import type { EtcdChannel } from "../../src/store/etcd-channel.ts"
import {
  decodeRanged,
  encodePut,
  encodeRange,
  type KeyValue,
} from "../../src/store/etcd-messages.ts"
import { openMembers } from "../../src/store/etcd-members.ts"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { Cluster, type ClusterOptions } from "./cluster.ts"
import { keysDatastore } from "./engines.ts"
import type { TestServer } from "./server.ts"
import { freePort } from "./ports.ts"
import { until } from "./process.ts"
import { kubectl } from "./server.ts"

/** On loopback, with ports for an etcd that nobody else has. */
export const ownPorts = async (): Promise<string[]> => [
  "--bind-address=127.0.0.1",
  `--etcd-client-port=${await freePort()}`,
  `--etcd-peer-port=${await freePort()}`,
]

/** None is started; {@link found} starts the first, {@link join} another. */
export async function embeddedCluster({
  args = ["--secrets-encryption"],
  count = 3,
  ...options
}: ClusterOptions = {}): Promise<Cluster> {
  const up = () => cluster.servers.find((one) => cluster.isUp(one)) ?? cluster.server(1)
  const datastore = keysDatastore("", (range) =>
    until(() => stored(up(), range).catch(unlessAway), { timeoutMs: 20_000, intervalMs: 100 }),
  )
  const ports = await Promise.all(Array.from({ length: count }, ownPorts))
  const argsOf = (n: number) => [...(ports[n - 1] ?? []), ...(options.argsOf?.(n) ?? [])]
  const own = { args, count, argsOf, hasMembers: true }
  const cluster: Cluster = new Cluster(datastore, { ...options, ...own })
  return cluster
}

/** While members choose who leads them nobody answers. */
const unlessAway = (error: unknown): undefined => {
  if (!isKnown(error, "StoreUnavailable")) throw error
}

export const found = (cluster: Cluster): Promise<void> =>
  cluster.start(cluster.server(1), ["--cluster-init"])

export const join = (cluster: Cluster, n: number, via = 1): Promise<void> =>
  cluster.start(cluster.server(n), ["--server", cluster.server(via).url])

export async function startEmbedded(options?: ClusterOptions): Promise<Cluster> {
  const cluster = await embeddedCluster(options)
  try {
    await found(cluster)
    for (const [n] of cluster.servers.entries()) if (n > 0) await join(cluster, n + 1)
    return cluster
  } catch (error) {
    await cluster[Symbol.asyncDispose]()
    throw error
  }
}

export const etcdPid = ({ dataDir }: TestServer): number =>
  Number(readFileSync(dataDirPaths(dataDir).etcd.pid, "utf8"))

const commandOf = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")

/** Whether a process is an etcd that runs. */
export function isEtcd(pid: number): boolean {
  try {
    return commandOf(pid).some((word) => word.startsWith("--initial-cluster"))
  } catch {
    return false
  }
}

/** What lies in its etcd, read beside keyturn. */
export const stored = (
  server: TestServer,
  range: Parameters<typeof encodeRange>[0],
): Promise<KeyValue[]> =>
  beside(server, async (channel) => {
    const answer = await channel.call("/etcdserverpb.KV/Range", encodeRange(range))
    return decodeRanged(answer).entries
  })

/** Puts into its etcd, beside keyturn. */
export const plantInto = (
  server: TestServer,
  put: { readonly key: string; readonly value: Buffer },
): Promise<unknown> =>
  beside(server, (channel) => channel.call("/etcdserverpb.KV/Put", encodePut(put)))

function etcdOf(server: TestServer) {
  const { client, serverCa } = dataDirPaths(server.dataDir).etcd
  const flag = "--listen-client-urls="
  const url = commandOf(etcdPid(server)).find((word) => word.startsWith(flag)) ?? ""
  const tls = { ca: serverCa.cert, cert: client.cert, key: client.key }
  return { endpoints: [url.slice(flag.length)], tls }
}

/** Where the members of its cluster are. */
export async function peersOf(server: TestServer): Promise<string[]> {
  const members = openMembers(etcdOf(server))
  try {
    return (await members.list()).flatMap(({ peerUrls }) => peerUrls).toSorted()
  } finally {
    members.close()
  }
}

async function beside<T>(
  server: TestServer,
  work: (channel: EtcdChannel) => Promise<T>,
): Promise<T> {
  const channel = channelTo(etcdOf(server))
  try {
    return await work(channel)
  } finally {
    channel.close()
  }
}

export async function writeSecret(server: TestServer, name: string): Promise<void> {
  const words = ["create", "secret", "generic", name, `--from-literal=of=${name}`]
  const { code, stderr } = await kubectl(server, words)
  if (code !== 0) throw new Error(stderr)
}

/** While members choose who leads them a write's answer may be lost; the next try finds it there. */
export async function untilWritten(server: TestServer, name: string): Promise<void> {
  const written = async () => {
    await writeSecret(server, name).catch(() => {})
    return (await kubectl(server, ["get", "secret", name])).code === 0
  }
  await until(written, { timeoutMs: 30_000, what: `${name} is written` })
}

/** Waits until it reads what {@link writeSecret} wrote. */
export async function untilRead(
  server: TestServer,
  name: string,
  timeoutMs = 20_000,
): Promise<void> {
  const words = ["get", "secret", name, "-o", "jsonpath={.data.of}"]
  const wanted = Buffer.from(name).toString("base64")
  await until(async () => (await kubectl(server, words)).stdout === wanted, {
    timeoutMs,
    intervalMs: 100,
    what: `${name} is read`,
  })
}
