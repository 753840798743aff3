/** Three servers, each with a member of one embedded etcd: joining, turning keys, deaths, leaving, and coming back. */
import { readdirSync, renameSync, rmSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { readMember, writeMember } from "../../src/cluster/etcd-member.ts"
import { JOIN_PATH } from "../../src/cluster/join.ts"
import { ERRORS } from "../../src/errors.ts"
import { apiClient } from "../harness/api.ts"
import { TOKEN } from "../harness/cluster.ts"
import {
  embeddedCluster,
  etcdPid,
  found,
  isEtcd,
  join,
  peersOf,
  plantInto,
  startEmbedded,
  untilRead,
  untilWritten,
  writeSecret,
} from "../harness/embedded.ts"
import { freePort } from "../harness/ports.ts"
import { until } from "../harness/process.ts"
import { needs } from "../harness/programs.ts"
import { expectStatus, MATCH, secretsEncrypt, stage } from "../harness/secrets-encrypt.ts"
import { keyturn, kubectl, kubectlSaid, TestServer } from "../harness/server.ts"
import { Traffic } from "../harness/traffic.ts"

needs("kubectl", "etcd")

/** Told of each member that joined, whose name is its own at each joining. */
const VOICE = /a server that joined has its voice in etcd member=\S+/g

test("three servers: keys are turned from one and read on all, a server dies with its etcd and comes back, a member dies and is started again", {
  timeout: 240_000,
}, async () => {
  await using cluster = await startEmbedded()
  const [first, second, third] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  await writeSecret(second, "a")
  await using traffic = new Traffic(cluster)
  await secretsEncrypt(third, "rotate-keys")
  for (const server of cluster.servers) {
    await untilRead(server, "a")
    await expectStatus(server, stage("reencrypt_finished"), MATCH)
  }
  expect(Object.keys(await cluster.datastore.censusOfSecrets())).toHaveLength(1)
  await traffic.end()

  const died = etcdPid(first)
  await cluster.stop(first, "SIGKILL")
  await until(() => !isEtcd(died))
  await untilWritten(third, "b")
  await cluster.start(first)
  await untilRead(first, "b")

  process.kill(etcdPid(second), "SIGKILL")
  await untilRead(second, "b", 40_000)
  expect(second.logs()).toContain("etcd was ended by SIGKILL")

  // As k3s-killall does it, twice in a row.
  for (const time of ["once", "twice"]) {
    await Promise.all(cluster.servers.map((server) => server.kill9()))
    const began = performance.now()
    await Promise.all(cluster.servers.map((server) => server.start()))
    for (const server of cluster.servers) await untilRead(server, "b")
    console.info(`all killed ${time}: all read after ${Math.round(performance.now() - began)} ms`)
  }
})

const nodes = async (server: TestServer) =>
  (await kubectlSaid(server, ["get", "nodes", "-o", "name"])).trim().split("\n")

test("a server leaves, another is deleted, and both come back as new ones", {
  timeout: 240_000,
}, async () => {
  await using cluster = await startEmbedded()
  const [first, second, third] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  await writeSecret(first, "a")
  const left = await keyturn(third, ["server", "leave"])
  expect(left).toMatchObject({ code: 0, stdout: "" })
  expect(await third.ended()).toBe(0)
  expect(await nodes(first)).toEqual(["node/s1", "node/s2"])
  const again = await refused(third)
  expect(again).toContain("was removed from the etcd cluster")
  expect(again).toContain("start with --server and --token")

  await kubectlSaid(first, ["delete", "node", "s2"])
  expect(await second.ended()).toBe(ERRORS.MemberRemoved.exit)
  const last = await keyturn(first, ["server", "leave"])
  expect(last).toMatchObject({ code: ERRORS.MembersUnready.exit })
  expect(last.stderr).toContain("s1 is the last server of its cluster")
  await untilRead(first, "a")

  for (const [n, server] of [[2, second] as const, [3, third] as const]) {
    const { data } = dataDirPaths(server.dataDir).etcd
    renameSync(data, `${data}.left`)
    await join(cluster, n)
    await untilRead(server, "a")
  }
  expect(await nodes(third)).toEqual(["node/s1", "node/s2", "node/s3"])
  // Before all three have a voice the loss of one is the loss of the cluster.
  const voices = () =>
    [first, second, third]
      .map((one) => one.logs())
      .join("")
      .match(VOICE) ?? []
  await until(() => new Set(voices()).size >= 4, { timeoutMs: 30_000 })
  // A member that has not seen its own promotion yet votes for nobody; what it answers it has seen with all before it.
  await untilWritten(second, "by-second")
  await untilWritten(third, "by-third")
  await cluster.stop(first, "SIGKILL")
  await untilWritten(third, "b")
})

test("a server that comes again keeps its new member, however late another hears that its Node was deleted", {
  timeout: 120_000,
}, async () => {
  await using cluster = await startEmbedded()
  const [first, second, third] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  const { data } = dataDirPaths(second.dataDir).etcd
  let lives = 0
  const comesAgain = async () => {
    renameSync(data, `${data}.${++lives}`)
    await join(cluster, 2, 3)
  }
  const isDeleted = async () => {
    await kubectlSaid(third, ["delete", "node", "s2"])
    expect(await second.ended()).toBe(ERRORS.MemberRemoved.exit)
  }
  cluster.pause(first)
  await isDeleted()
  await comesAgain()
  await writeSecret(second, "again")
  cluster.resume(first)
  await untilRead(first, "again")
  // A removal that is refused is tried again each second.
  await sleep(5_000)
  await untilWritten(second, "kept")
  // Deleted once more, it goes.
  await isDeleted()

  // The other hears of its coming as late as of its going.
  cluster.pause(first)
  await comesAgain()
  await isDeleted()
  await comesAgain()
  await writeSecret(second, "back")
  cluster.resume(first)
  await untilRead(first, "back")
  await sleep(5_000)
  await untilWritten(second, "stays")
})

test("who is given the address of a member that runs is refused, and who asks anew from elsewhere leaves no place behind", {
  timeout: 120_000,
}, async () => {
  await using cluster = await embeddedCluster()
  const [first, second] = [cluster.server(1), cluster.server(2)]
  await found(cluster)
  await join(cluster, 2)
  await writeSecret(first, "a")
  const peers = await peersOf(first)
  const peerUrl = readMember(dataDirPaths(second.dataDir).etcd)?.peerUrl ?? ""

  const clientPort = `--etcd-client-port=${await freePort()}`
  const args = ["--node-name=s9", `--token=${TOKEN}`, "--bind-address=127.0.0.1", clientPort]
  await using other = new TestServer({ args })
  const joining = (port: string | number) => ["--server", first.url, `--etcd-peer-port=${port}`]
  const said = await refused(other, ...joining(new URL(peerUrl).port))
  expect(said).toMatch(/the member s2-[0-9a-f]{8} runs at /)
  await second.stop()
  const toDead = await refused(other, ...joining(new URL(peerUrl).port))
  expect(toDead).toContain("where that one is gone for good, delete its Node, s2")
  await second.start()
  await untilWritten(second, "b")
  expect(await peersOf(first)).toEqual(peers)

  // It was taken in, and ended before its etcd began.
  const former = `https://127.0.0.1:${await freePort()}`
  using api = apiClient(first.kubeconfig)
  const asked = { name: "s9-00000000", peerUrl: former }
  // etcd takes nobody in while a member was away in the last 5 s.
  const takenIn = async () => (await api.call("POST", JOIN_PATH, asked)).status === 200
  await until(takenIn, { timeoutMs: 30_000, intervalMs: 500 })
  const { etcd } = dataDirPaths(other.dataDir)
  writeMember(etcd, { ...asked, cluster: null, isFirst: false })
  const port = await freePort()
  await other.start(joining(port))
  await untilRead(other, "b")
  expect(await peersOf(first)).toEqual([...peers, `https://127.0.0.1:${port}`].toSorted())
})

test("a Node that does not open is made anew, and its server keeps its place, which it loses with the Node", {
  timeout: 120_000,
}, async () => {
  await using cluster = await startEmbedded()
  const [first, second, third] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  await plantInto(first, { key: "/registry/minions/s2", value: Buffer.from("not a Node") })
  await until(async () => (await kubectl(first, ["get", "node", "s2"])).code === 0, {
    intervalMs: 100,
    what: "the Node is there again",
  })
  await plantInto(first, { key: "/registry/minions/ghost", value: Buffer.from("not a Node") })
  const { code, stderr } = await keyturn(first, ["secrets-encrypt", "status", "-o", "wide"])
  expect(code, stderr).toBe(0)
  // Every server sees what becomes of Nodes in its order: once this one's end was seen, so was the other's, had it been one.
  await kubectlSaid(first, ["delete", "node", "s3"])
  expect(await third.ended()).toBe(ERRORS.MemberRemoved.exit)
  await writeSecret(second, "a")
  await untilRead(first, "a")
  // With one that does not open among them they cannot be listed.
  for (const name of ["s1", "s2"]) await kubectlSaid(second, ["get", "node", name])
  expect((await kubectl(second, ["get", "node", "s3"])).stderr).toContain("not found")
})

test("of three servers two are lost: the third goes on alone, and the others join it again", {
  timeout: 240_000,
}, async () => {
  await using cluster = await startEmbedded()
  const [first, second, third] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  await writeSecret(second, "a")
  await secretsEncrypt(first, "rotate-keys")
  await Promise.all([second, third].map((server) => server.kill9()))
  await expect(writeSecret(first, "b")).rejects.toThrow()
  await first.stop()

  const said = await refused(first, "--cluster-reset")
  expect(said).toContain("this server's etcd is the only member of its cluster now")
  await first.start()
  await untilRead(first, "a")
  await writeSecret(first, "c")
  // With its old data another server would be of the old cluster.
  expect(await refused(second)).toContain("was removed from the etcd cluster")
  for (const [n, server] of [[2, second] as const, [3, third] as const]) {
    const { data } = dataDirPaths(server.dataDir).etcd
    renameSync(data, `${data}.old`)
    await join(cluster, n)
    await untilRead(server, "a")
    await untilRead(server, "c")
  }
})

test("who may not join is told why, and the cluster does not suffer", {
  timeout: 120_000,
}, async () => {
  await using cluster = await embeddedCluster({ count: 2 })
  await found(cluster)
  const [first, second] = [cluster.server(1), cluster.server(2)]
  const url = first.url
  await second.start()
  await second.stop()
  expect(await refused(second, "--server", url)).toContain("this server has a database of its own")
  // With a key of its own that has another's name it cannot start among the others, who took it in before.
  const { db, state } = dataDirPaths(second.dataDir)
  for (const file of readdirSync(db)) if (`${db}/${file}`.startsWith(state)) rmSync(`${db}/${file}`)
  const peers = await peersOf(first)
  const strange = await refused(second, "--server", url)
  expect(strange).toContain('the key "aescbckey" (aescbc) is in the keyring already')
  expect(await peersOf(first)).toEqual(peers)
  rmSync(second.dataDir, { recursive: true })
  expect(await refused(second, "--server", url, "--token", "wr0ng-t0ken")).toContain(
    "not authorized",
  )
  expect(
    await refused(second, "--server", url, "--token", `K10${"0".repeat(64)}::server:x`),
  ).toContain("token CA hash does not match")
  const named = await refused(second, "--server", url, "--node-name", "s1")
  expect(named).toContain("a server named s1 is a member already")
  expect(await refused(second)).toContain(
    "this server asked to join a cluster and was not taken in",
  )
  await join(cluster, 2)
  await writeSecret(second, "a")
  await untilRead(first, "a")
  await first.stop()
  expect(await refused(first, "--server", second.url)).toContain("is a cluster of its own")
  await first.start()
  await second.stop()
  await second.start(["--server", url])
  await second.stop()
  rmSync(dataDirPaths(second.dataDir).etcd.data, { recursive: true })
  expect(await refused(second)).toContain("this server was a member of an etcd cluster")
})

/** What a start that fails says. */
const refused = (server: TestServer, ...args: readonly string[]): Promise<string> =>
  server.start(args).then(
    () => "it started",
    (error: unknown) => String(error),
  )
