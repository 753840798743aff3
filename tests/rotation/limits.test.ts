/** The limits of a key on several servers with one datastore: what is sealed is counted, and a key that is due is turned once. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, expect, test } from "vitest"
import { emptyKeyring } from "../../src/keyring/keyring.ts"
import { newClusterKey, newFence } from "../../src/keyring/record.ts"
import { createKeyring, Keys } from "../../src/registry/keys.ts"
import { Registry } from "../../src/registry/registry.ts"
import { type Batches, batchesOf } from "../../src/rewriter/batches.ts"
import { takeVerb } from "../../src/rewriter/take-verb.ts"
import { runOperation } from "../../src/rewriter/run.ts"
import { SEALS_MAX } from "../../src/rotation/due.ts"
import type { Request } from "../../src/rotation/verbs.ts"
import { limitsWatch } from "../../src/server/limits.ts"
import { openSqlite } from "../../src/store/sqlite.ts"
import type { Store } from "../../src/store/store.ts"
import { CALLER, verbsOf } from "../harness/verbs.ts"
import { inThread } from "./cluster.ts"

const SECRETS = { storagePrefix: "/registry/secrets/" }
const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

/** Three servers whose writing key is of AES-GCM. */
async function cluster(batchesIn: (store: Store, dir: string) => Batches = batchesOf) {
  const dir = mkdtempSync(join(tmpdir(), "keyturn-limits-"))
  const store = openSqlite({ path: join(dir, "state.db") })
  cleanups.push(
    () => rmSync(dir, { recursive: true }),
    () => store.close(),
  )
  const clusterKey = newClusterKey()
  const pair = { cert: "", key: "" }
  const keyring = emptyKeyring({ server: pair, client: pair }, { password: "pw" })
  const record = { epoch: 1, fence: newFence(), slots: [], keyring }
  await createKeyring(store, { record, clusterKey })
  // Each reading is two seconds on, so that no two keys share a name.
  let seconds = 0
  const now = () => new Date(Date.UTC(2026, 10, 23, 12, 0, (seconds += 2)))
  const names = ["server-1", "server-2", "server-3"]
  const servers = await Promise.all(
    names.map(async (nodeName) => {
      const keys = await Keys.open(store, clusterKey)
      const take = (request: Request) =>
        takeVerb(request, CALLER, { ...verbsOf(keys, now), nodeName, provider: "aesgcm" })
      const { signal } = new AbortController()
      const run = () =>
        runOperation({
          store,
          keys,
          server: nodeName,
          now,
          monotonicMs: () => 0,
          signal,
          batches: batchesIn(store, dir),
        })
      return { keys, take, run, registry: new Registry(store, keys) }
    }),
  )
  const [first, second, third] = servers
  if (!first || !second || !third) throw new Error("no servers")
  await first.take({ verb: "enable", force: false, skip: false })
  await first.run()
  for (const { keys } of servers) await keys.refresh()
  return { now, servers: [first, second, third] as const }
}

const secret = (name: string) => ({
  kind: "Secret",
  apiVersion: "v1",
  metadata: { namespace: "default", name },
  data: { name: Buffer.from(name).toString("base64") },
  type: "Opaque",
})

test.each([
  ["here", batchesOf],
  ["in a thread of its own", inThread],
])(
  "what clients and what a rewrite %s seal is counted under their keys, never too little",
  async (_, batchesIn) => {
    const {
      servers: [first, second],
    } = await cluster(batchesIn)
    const create = ({ registry }: typeof first, name: string) =>
      registry.create(SECRETS, { namespace: "default", name }, secret(name))
    for (let n = 0; n < 30; n++) await create(n % 2 ? first : second, `s${n}`)
    const before = await first.keys.writes.read()
    // A block of each server.
    expect(before.get("aesgcmkey")).toEqual({ clients: 2000, rewriting: 0 })
    await first.take({ verb: "rotate-keys", force: false, skip: false })
    expect(await first.run()).toMatchObject({ state: "finished", rewritten: 30 })
    const { writer } = first.keys.view.record.keyring
    const after = await first.keys.writes.read()
    expect(after.get(writer ?? "")).toEqual({ clients: 0, rewriting: 30 })
    expect(after.get("aesgcmkey")).toEqual(before.get("aesgcmkey"))
    // Nothing is under another key: nothing is sealed, nothing counted.
    await first.take({ verb: "reencrypt", force: true, skip: false })
    await first.run()
    const { key, revision } = (await first.registry.get(SECRETS, {
      namespace: "default",
      name: "s1",
    })) ?? { key: "", revision: 0 }
    await first.registry.remove({ key, revision })
    expect(await first.keys.writes.read()).toEqual(after)
  },
)

/** Whoever looks at the limits, and what he says. */
function watching({ now, servers }: Awaited<ReturnType<typeof cluster>>) {
  const limits = { keyMaxAgeMs: null, autoRotate: true }
  const started: unknown[] = []
  const said: string[] = []
  const log = {
    info: (of: object) => void started.push(of),
    warn: (sentence: string) => void said.push(sentence),
  }
  const look = servers.map((server, n) => {
    const parts = { keys: server.keys, limits, now, log: log as never }
    /** Before the verb is taken, and after it was found due. */
    const hook = { beforeTaking: async () => {} }
    const take = async (request: Request) => {
      await hook.beforeTaking()
      return server.take(request)
    }
    return { look: limitsWatch({ ...parts, take }), hook, n }
  })
  return { look, started, said }
}

test("three servers that find a key due at one moment turn it once", async () => {
  const all = await cluster()
  const [first] = all.servers
  await first.keys.writes.add("aesgcmkey", { clients: SEALS_MAX })
  const { look, started } = watching(all)
  await Promise.all(look.map((server) => server.look()))
  await Promise.all(look.map((server) => server.look()))
  expect(started).toHaveLength(1)
  expect((await first.keys.refresh()).record.keyring.keys).toHaveLength(2)
})

test("one that found a key due before another turned it does not turn the next", async () => {
  const all = await cluster()
  const [first, second] = all.servers
  await first.keys.writes.add("aesgcmkey", { clients: SEALS_MAX })
  const { look, started, said } = watching(all)
  const [one, other] = look
  if (!one || !other) throw new Error("no servers")
  other.hook.beforeTaking = async () => {
    await one.look()
    await first.run()
  }
  await other.look()
  expect(started).toHaveLength(1)
  const { keyring } = (await second.keys.refresh()).record
  expect(keyring.stage).toBe("reencrypt_finished")
  expect(keyring.keys.map(({ state }) => state)).toEqual(["archived", "active"])
  expect(said.filter((sentence) => sentence.includes("not turned"))).toEqual([])
})

test("a key that is due waits while somebody else is about to turn keys, and says so once", async () => {
  const all = await cluster()
  const [first] = all.servers
  await first.take({ verb: "prepare", force: false, skip: false })
  await first.keys.writes.add("aesgcmkey", { clients: SEALS_MAX })
  const { look, started, said } = watching(all)
  await look[0]?.look()
  await look[0]?.look()
  expect(started).toEqual([])
  expect(said).toEqual([
    'the key "aesgcmkey" has sealed 100 % or more of the 200000 values that an AES-GCM key is for',
    expect.stringMatching(/^the key "aesgcmkey" is due and not turned yet: incorrect stage/),
  ])
})

test("a rotation that somebody aborted is not begun again by itself", async () => {
  const all = await cluster()
  const [first] = all.servers
  await first.keys.writes.add("aesgcmkey", { clients: SEALS_MAX })
  const { look, started, said } = watching(all)
  await look[0]?.look()
  await first.take({ verb: "abort", force: false, skip: false })
  await look[0]?.look()
  await look[1]?.look()
  expect(started).toHaveLength(1)
  expect(first.keys.view.record.keyring.writer).toBe("aesgcmkey")
  expect(said).toContain(
    'the key "aesgcmkey" is due and not turned yet: the last rotation was aborted: the next is for somebody to begin',
  )
  const byHand = await first.take({ verb: "rotate-keys", force: false, skip: false })
  expect(byHand).toMatchObject({ kind: "rotate-keys", state: "running" })
})
