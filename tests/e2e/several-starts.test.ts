/** Servers that start together: at the same moment on an empty datastore, with one token, with none, with different ones; before
 *  their datastore; all killed in the same second in the middle of a rotation. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { apiClient } from "../harness/api.ts"
import { Cluster, startCluster } from "../harness/cluster.ts"
import { deal } from "../harness/dealt.ts"
import { until } from "../harness/process.ts"
import { expectQuiet } from "../harness/quiet.ts"
import { ENABLED, expectStatus, MATCH, stage } from "../harness/secrets-encrypt.ts"
import { kubectlSaid, type TestServer, untilStopped } from "../harness/server.ts"

/** `npm run test:soak` runs many. */
const ROUNDS = Number(process.env.KEYTURN_TEST_ROUNDS ?? 4)
const ROUND_MS_MAX = 20_000

const dealt = deal()

const tokenOf = ({ dataDir }: TestServer) => readFileSync(dataDirPaths(dataDir).token, "utf8")
const caOf = ({ dataDir }: TestServer) => readFileSync(dataDirPaths(dataDir).serverCa.cert, "utf8")
const configOf = ({ dataDir }: TestServer) =>
  readFileSync(dataDirPaths(dataDir).encryptionConfig, "utf8")

/** One CA, one keyring, one first key, one token. */
async function expectOne(servers: readonly TestServer[], round: number) {
  for (const each of [caOf, configOf, tokenOf])
    expect(new Set(servers.map(each)).size, `round ${round}`).toBe(1)
  await Promise.all(servers.map((server) => expectStatus(server, ENABLED, stage("start"), MATCH)))
  const [first] = servers
  if (first === undefined) throw new Error("no servers")
  const names = await kubectlSaid(first, ["get", "nodes", "-o", "name"])
  expect(names).toBe("node/s1\nnode/s2\n")
}

test("two servers at the same moment with one token: one CA, one keyring, one first key", {
  timeout: ROUNDS * ROUND_MS_MAX,
}, async () => {
  // https://github.com/k3s-io/k3s/issues/7195 (docs/pains.md 5)
  for (let round = 1; round <= ROUNDS; round++) {
    await using cluster = new Cluster(await dealt.newDatastore(), {
      args: ["--secrets-encryption"],
      count: 2,
    })
    await Promise.all(cluster.servers.map((server) => server.start()))
    await expectOne(cluster.servers, round)
    expect(
      JSON.parse(configOf(cluster.server(1))).resources[0].providers[0].aescbc.keys,
    ).toHaveLength(1)
    for (const server of cluster.servers) expectQuiet(server)
  }
})

test("two servers at the same moment without a token: one goes on, the other says what to do and leaves nothing", {
  timeout: ROUNDS * ROUND_MS_MAX,
}, async () => {
  for (let round = 1; round <= ROUNDS; round++) {
    const args = ["--secrets-encryption"]
    await using cluster = new Cluster(await dealt.newDatastore(), { args, count: 2, token: null })
    const started = await Promise.all(
      cluster.servers.map((server) =>
        server.start().then(
          () => "",
          (error: unknown) => String(error),
        ),
      ),
    )
    const [winner, loser] = started[0] === "" ? [0, 1] : [1, 0]
    expect(started[winner], `round ${round}`).toBe("")
    // The later it came, the sooner it saw the keyring.
    expect(started[loser]).toMatch(
      /made the keyring of this datastore at the same moment|and the datastore holds a keyring/,
    )
    const [first, second] = [cluster.server(winner + 1), cluster.server(loser + 1)]
    const { token, nodeToken, cred, tls } = dataDirPaths(second.dataDir)
    expect([token, nodeToken].filter((path) => existsSync(path))).toEqual([])
    expect([cred, tls].flatMap((path) => readdirSync(path))).toEqual([])
    await second.start(["--token-file", dataDirPaths(first.dataDir).token])
    await expectOne(cluster.servers, round)
  }
})

test("all killed in the same second, twice in a row, in the middle of a rotation: at rest within 10 s by itself", {
  timeout: 120_000,
}, async () => {
  const datastore = await dealt.newDatastore()
  await using cluster = await startCluster(datastore, { args: ["--secrets-encryption"] })
  const s1 = cluster.server(1)
  await fill(s1, 1_000)
  let under = "aescbc:v1:aescbckey"
  const stored = async () => Object.keys(await datastore.censusOfSecrets())
  for (const round of [1, 2]) {
    await beginRotation(s1)
    await Promise.all(cluster.servers.map((server) => server.kill9()))
    expect(await stored()).toContain(under)
    await Promise.all(cluster.servers.map((server) => server.start()))
    await Promise.all(cluster.servers.map((server) => server.kill9()))
    await Promise.all(cluster.servers.map((server) => server.start()))
    const began = performance.now()
    const parts = [ENABLED, stage("reencrypt_finished"), MATCH]
    await Promise.all(cluster.servers.map((server) => expectStatus(server, ...parts)))
    const tookMs = performance.now() - began
    console.info(`round ${round}: at rest ${Math.round(tookMs)} ms after all were ready`)
    expect(tookMs).toBeLessThan(10_000)
    const now = await stored()
    expect(now).toHaveLength(1)
    expect(now).not.toEqual([under])
    under = now[0] ?? ""
  }
  for (const server of cluster.servers) expectQuiet(server)
})

/** Starts it again. Returns when it stands still after its first batch. */
async function beginRotation(server: TestServer): Promise<void> {
  await server.stop()
  await server.start([], "batch:after=SIGSTOP")
  using api = apiClient(server.kubeconfig)
  const asked = api.call("PUT", "/v1-keyturn/encrypt/config", { stage: "rotate_keys" })
  asked.catch(() => {}) // whether it was answered before does not matter
  await untilStopped(server)
}

async function fill(server: TestServer, count: number): Promise<void> {
  using api = apiClient(server.kubeconfig)
  const data = { of: Buffer.alloc(1024).toString("base64") }
  const create = async (n: number) => {
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: `s${n}` }, data }
    const { status } = await api.call("POST", "/api/v1/namespaces/default/secrets", secret)
    expect(status).toBe(201)
  }
  await Promise.all(Array.from({ length: count }, (_, n) => create(n)))
}

test("a server that starts before its datastore waits for it, and says so", {
  timeout: 240_000,
}, async () => {
  const engine = dealt.engine()
  await using cluster = new Cluster(await dealt.newDatastore(), { count: 1 })
  const server = cluster.server(1)
  // It says so again every ten seconds, and the engine takes its time to start.
  const times = () => server.logs().match(/waiting for the datastore: /g)?.length ?? 0
  await engine.stop()
  const starting = server.start()
  starting.catch(() => {})
  try {
    await until(() => times() > 0, { timeoutMs: 20_000 })
  } finally {
    await engine.start()
  }
  await starting
  await kubectlSaid(server, ["get", "namespaces"])

  const before = times()
  await engine.stop()
  try {
    const again = server.restart()
    again.catch(() => {})
    await until(() => times() > before, { timeoutMs: 20_000 })
    expect(await server.stop()).toBe(0)
    await expect(again).rejects.toThrow("not ready")
  } finally {
    await engine.start()
  }
})
