import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, test } from "vitest"
import { type NodeFacts, serverNodes, shownHashes, writeNode } from "../cluster/node.ts"
import { emptyKeyring } from "../keyring/keyring.ts"
import { newClusterKey, newFence } from "../keyring/record.ts"
import { createKeyring, Keys } from "../registry/keys.ts"
import { Registry } from "../registry/registry.ts"
import { openSqlite } from "../store/sqlite.ts"
import type { Store } from "../store/store.ts"
import { Servers } from "./servers.ts"
import { flagErrors } from "./status.ts"

const NODES = { storagePrefix: "/registry/minions/" }
const LEASE_OF_B = "/registry/leases/kube-system/keyturn-b"
const HASH = "0".repeat(64)

let dir: string
let store: Store
let registry: Registry
let keys: Keys
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "keyturn-servers-"))
  store = openSqlite({ path: join(dir, "state.db") })
  const clusterKey = newClusterKey()
  const pair = { cert: "", key: "" }
  const keyring = emptyKeyring({ server: pair, client: pair }, { password: "pw" })
  await createKeyring(store, {
    record: { epoch: 7, fence: newFence(), slots: [], keyring },
    clusterKey,
  })
  keys = await Keys.open(store, clusterKey)
  registry = new Registry(store, keys)
})
afterEach(async () => {
  await store.close()
  rmSync(dir, { recursive: true })
})

const facts = (name: string): NodeFacts => ({
  name,
  addresses: [],
  version: "v0",
  os: { platform: "linux", arch: "amd64", release: "6" },
})

/** A server with a clock of its own, `at`. */
function server(name: string, flags: Record<string, string> = {}, isAlone = false) {
  const clock = { atMs: Math.random() * 1e9 }
  const said: string[] = []
  const publish = () =>
    writeNode(registry, facts(name), { hash: `start-${HASH}`, now: new Date(1e12) })
  const servers = new Servers({
    registry,
    keys,
    name,
    isAlone,
    leavesWithNode: false,
    flags,
    publish,
    now: () => new Date(2e12),
    monotonicMs: () => clock.atMs,
    warn: (sentence) => said.push(sentence),
  })
  /** Attends every second, for as long as `seconds`. */
  const attend = async (seconds: number) => {
    for (let passed = 0; passed <= seconds; passed++) {
      await servers.attend()
      if (passed < seconds) clock.atMs += 1000
    }
  }
  const start = () => servers.renew().then(publish)
  return { servers, said, start, attend, clock }
}

async function readyOf(name: string): Promise<Record<string, unknown> | undefined> {
  const stored = await registry.get(NODES, { name })
  const status = stored?.object.status as { conditions: Record<string, unknown>[] } | undefined
  return status?.conditions.find(({ type }) => type === "Ready")
}

test("a server that stands still for 8 s is Unknown, in Kubernetes' words, until it beats again", async () => {
  const [a, b] = [server("a"), server("b")]
  await Promise.all([a.start(), b.start()])
  await a.attend(7)
  expect(await readyOf("b")).toMatchObject({ status: "True" })
  await b.servers.beat()
  await a.attend(7)
  expect(await readyOf("b")).toMatchObject({ status: "True" })
  await a.attend(1)
  expect(await readyOf("b")).toEqual({
    type: "Ready",
    status: "Unknown",
    reason: "NodeStatusUnknown",
    message: "keyturn stopped posting node status.",
    lastHeartbeatTime: "2001-09-09T01:46:40Z",
    lastTransitionTime: "2033-05-18T03:33:20Z",
  })
  await a.attend(9)
  expect(a.said).toEqual(["nothing is heard of the server b"])
  expect(await readyOf("a")).toMatchObject({ status: "True" })

  await b.servers.beat()
  expect(await readyOf("b")).toMatchObject({ status: "True", reason: "KeyturnServing" })
  await a.attend(7)
  expect(await readyOf("b")).toMatchObject({ status: "True" })
})

test("of a server that is gone no hash is compared", async () => {
  const [a, b] = [server("a"), server("b")]
  await Promise.all([a.start(), b.start()])
  expect(await shownHashes(registry)).toHaveLength(2)
  await a.attend(8)
  expect(await shownHashes(registry)).toEqual([{ name: "a", hash: `start-${HASH}` }])
})

test("a server that starts again is not taken for the one that stood still", async () => {
  const [a, b] = [server("a"), server("b")]
  await Promise.all([a.start(), b.start()])
  await a.attend(20)
  await b.start()
  await a.attend(1)
  expect(await readyOf("b")).toMatchObject({ status: "True" })
})

test("a Node that was deleted comes again while its server beats; without it, its lease goes too", async () => {
  const [a, b] = [server("a"), server("b")]
  await Promise.all([a.start(), b.start()])
  const remove = async () => {
    const stored = await registry.get(NODES, { name: "b" })
    if (stored !== undefined) await registry.remove(stored)
  }
  await a.attend(3)
  await remove()
  await b.servers.beat()
  expect(await readyOf("b")).toMatchObject({ status: "True" })

  await a.attend(8)
  await remove()
  expect(await store.get(LEASE_OF_B)).toBeDefined()
  await a.attend(1)
  expect(await store.get(LEASE_OF_B)).toBeUndefined()
  expect((await serverNodes(registry)).map(({ name }) => name)).toEqual(["a"])
})

test("a Node without a lease is one of a server that ended; one that a kubelet speaks for is left alone", async () => {
  const a = server("a")
  const now = new Date(0)
  await writeNode(registry, facts("named-otherwise"), { hash: `start-${HASH}`, now })
  await writeNode(registry, facts("kubelets"), { hash: undefined, now })
  const stored = await registry.get(NODES, { name: "kubelets" })
  if (stored === undefined) throw new Error("no Node was written")
  const conditions = [{ type: "Ready", status: "True", reason: "KubeletReady" }]
  await registry.replace(stored, { ...stored.object, status: { conditions } })
  await a.attend(9)
  expect(await readyOf("named-otherwise")).toMatchObject({ status: "Unknown" })
  expect(await readyOf("kubelets")).toMatchObject({ status: "True" })
})

test("an own lease that does not open is made anew", async () => {
  const b = server("b")
  await store.create({ key: LEASE_OF_B, value: Buffer.from("rubbish"), fence: undefined })
  await b.servers.beat()
  await server("a").servers.attend()
})

test("a server that is alone keeps its Node, and writes no lease", async () => {
  const a = server("a", {}, true)
  await a.servers.beat()
  expect(await readyOf("a")).toMatchObject({ status: "True" })
  const before = await store.revision()
  await a.servers.beat()
  await a.attend(9)
  expect(await store.revision()).toBe(before)
  expect(await a.servers.status()).toMatchObject([{ name: "a", ready: true, lastseenseconds: 0 }])
})

test("two servers of one name are told so", async () => {
  const [one, other] = [server("a"), server("a")]
  await one.start()
  await other.start()
  expect(other.said).toEqual([])
  await one.servers.beat()
  expect(one.said).toEqual(["another server is named a too: give each its own --node-name"])
})

test("status: each server, when it was last seen by the asked one, and the flags that differ", async () => {
  const [a, b] = [server("a", { colour: "red" }), server("b", { colour: "blue" })]
  const c = server("c", { colour: "red" })
  await Promise.all([a.start(), b.start(), c.start()])
  await a.attend(3)
  a.clock.atMs += 250
  const of = { stage: "start", hash: HASH, epoch: 7 }
  expect(await a.servers.status()).toEqual([
    { name: "a", ready: true, ...of, lastseenseconds: 0, flags: { colour: "red" } },
    { name: "b", ready: true, ...of, lastseenseconds: 3.3, flags: { colour: "blue" } },
    { name: "c", ready: true, ...of, lastseenseconds: 3.3, flags: { colour: "red" } },
  ])
  expect(flagErrors(await a.servers.status())).toEqual(["--colour is red on a, c and blue on b"])
  await b.servers.beat()
  expect((await a.servers.status())[1]).toMatchObject({ lastseenseconds: 0 })
  await a.attend(5)
  await b.servers.beat()
  await c.servers.beat()
  await a.attend(7)
  await c.servers.beat()
  await a.attend(2)
  const status = await a.servers.status()
  expect(status.map(({ ready }) => ready)).toEqual([true, false, true])
  expect(flagErrors(status)).toEqual([])
})
