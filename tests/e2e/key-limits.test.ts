/** Keys that come to their limits, on real servers: warnings, and rotations that nobody asked for. */
import { pino } from "pino"
import { afterAll, beforeAll, expect, test } from "vitest"
import { Writes } from "../../src/registry/writes.ts"
import { SEALS_MAX } from "../../src/rotation/due.ts"
import { datastoreOf, openDatastore } from "../../src/server/datastore.ts"
import type { KeyListed } from "../../src/server/key-list.ts"
import { startCluster } from "../harness/cluster.ts"
import { dealEngine, type Engine } from "../harness/engines.ts"
import { until } from "../harness/process.ts"
import { faketime } from "../harness/programs.ts"
import { secretsEncrypt } from "../harness/secrets-encrypt.ts"
import { keyturn, kubectlSaid, startServer, type TestServer } from "../harness/server.ts"

let engine: Engine | undefined
beforeAll(async () => (engine = await dealEngine()))
afterAll(() => engine?.[Symbol.asyncDispose]())

const TURNED = /the key is turned by --auto-rotate/g
const turns = (servers: readonly TestServer[]) =>
  servers.reduce((sum, server) => sum + (server.logs().match(TURNED)?.length ?? 0), 0)

async function keysOf(server: TestServer): Promise<KeyListed[]> {
  return JSON.parse(await secretsEncrypt(server, "keys", "-o", "json")).keys
}

const createSecret = (server: TestServer, name: string) =>
  kubectlSaid(server, ["create", "secret", "generic", name, "--from-literal=a=b"])

/** As if so many values had been sealed under the key. */
async function wearOut(endpoint: string, key: string): Promise<void> {
  const tls = { ca: null, cert: null, key: null }
  const datastore = datastoreOf({ text: endpoint, where: "the test" }, { standard: "", tls })
  const { signal } = new AbortController()
  const store = await openDatastore(datastore, { log: pino({ level: "silent" }), signal })
  if (store === undefined) throw new Error("no datastore")
  await new Writes(store).add(key, { clients: SEALS_MAX })
  await store.close()
}

test("of three servers with --auto-rotate one turns a key that has sealed enough, each time", {
  timeout: 180_000,
}, async ({ skip }) => {
  if (engine === undefined) return skip("the engine is not installed")
  const datastore = await engine.newDatastore()
  const args = ["--secrets-encryption", "--secrets-encryption-provider", "aesgcm", "--auto-rotate"]
  await using cluster = await startCluster(datastore, { args })
  const { servers } = cluster
  await Promise.all(servers.map((server, n) => createSecret(server, `s${n}`)))
  const [first] = await keysOf(cluster.server(1))
  expect(first).toMatchObject({ name: "aesgcmkey", storedvalues: 3, writes: 3000 })
  let writer = "aesgcmkey"
  for (const round of [1, 2]) {
    await wearOut(datastore.endpoint, writer)
    const before = writer
    await until(
      async () => {
        const keys = await keysOf(cluster.server(round))
        writer = keys.find(({ state }) => state === "writing")?.name ?? ""
        return keys.find(({ name }) => name === before)?.state === "archived"
      },
      { timeoutMs: 60_000, intervalMs: 500 },
    )
    expect(writer).not.toBe(before)
  }
  await Promise.all(servers.map((server) => server.stop()))
  expect(turns(servers)).toBe(2)
  expect(Object.keys(await datastore.censusOfSecrets())).toEqual([`aesgcm:v1:${writer}`])
})

test("a key that is too old is warned of, and turned once by --auto-rotate, by the server's own clock", {
  timeout: 120_000,
}, async ({ skip }) => {
  const library = faketime()
  if (library === undefined)
    return skip("libfaketime is not installed; run the tests with: npm test")
  await using made = await startServer({ args: ["--secrets-encryption"] })
  await createSecret(made, "one")
  await made.stop()
  const off = { LD_PRELOAD: library, FAKETIME: "+2h", FAKETIME_DONT_FAKE_MONOTONIC: "1" }
  const warning = 'the key "aescbckey" is older than --key-max-age 1h'
  const { dataDir } = made
  {
    await using ahead = await startServer({ dataDir, env: off, args: ["--key-max-age", "1h"] })
    await until(() => ahead.logs().includes(warning), { timeoutMs: 30_000 })
    const { code, stderr } = await keyturn(ahead, ["secrets-encrypt", "status"])
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: `keyturn: warning: ${warning}; turn it: keyturn secrets-encrypt rotate-keys\n`,
    })
    await ahead.stop()
    expect(turns([ahead])).toBe(0)
  }
  const args = ["--key-max-age", "1h", "--auto-rotate"]
  await using turning = await startServer({ dataDir, env: off, args })
  await until(async () => (await keysOf(turning))[0]?.state === "archived", { timeoutMs: 60_000 })
  expect((await keyturn(turning, ["secrets-encrypt", "status"])).stderr).toBe("")
  expect(turning.logs()).toContain("it is older than --key-max-age 1h")
  await turning.stop()
  expect(turns([turning])).toBe(1)
  // Back on the right clock the key is one of the future, and stays.
  await made.restart(args)
  const [, second, ...others] = await keysOf(made)
  expect({ state: second?.state, others }).toEqual({ state: "writing", others: [] })
})
