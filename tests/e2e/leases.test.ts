/** Three servers, one of which is killed or stopped: another goes on with its work, its Node says that nothing is heard of it, and
 *  no rotation waits for it. */
import { expect, test } from "vitest"
import { BEAT_MS, LEASE_MS } from "../../src/rotation/lease.ts"
import { apiClient } from "../harness/api.ts"
import type { Cluster, ClusterOptions } from "../harness/cluster.ts"
import { deal, isEmbedded } from "../harness/dealt.ts"
import type { Datastore } from "../harness/engines.ts"
import { until } from "../harness/process.ts"
import { needs } from "../harness/programs.ts"
import { keyturn, kubectl, kubectlSaid, type TestServer, untilStopped } from "../harness/server.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const SECRETS_COUNT = 4000
/** Others take a server for gone after LEASE_MS without a beat. On a busy machine they, the beats before it and the work itself
 *  may all be late; what is told is how long it took. */
const PATIENCE = { timeoutMs: 60_000 }

needs("kubectl")
const dealt = deal()

/** `argsOf`: of one server alone. */
async function startThree(argsOf: ClusterOptions["argsOf"] = () => []): Promise<Three> {
  const cluster = await dealt.start({ args: ["--secrets-encryption"], argsOf })
  const { datastore } = cluster
  const [s1, s2, s3] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  const dispose = () => cluster[Symbol.asyncDispose]()
  return { cluster, datastore, s1, s2, s3, [Symbol.asyncDispose]: dispose }
}

interface Three extends AsyncDisposable {
  readonly cluster: Cluster
  readonly datastore: Datastore
  readonly s1: TestServer
  readonly s2: TestServer
  readonly s3: TestServer
}

/** What anything of a Secret is stored under. */
const keysInUse = async (datastore: Datastore): Promise<string[]> =>
  Object.keys(await datastore.censusOfSecrets())

const secret = (name: string, value: string) => ({
  kind: "Secret",
  apiVersion: "v1",
  metadata: { name },
  data: { value: Buffer.from(value).toString("base64") },
})

/** Returns what each holds. */
async function createSecrets(server: TestServer, count: number): Promise<Map<string, string>> {
  using client = apiClient(server.kubeconfig)
  const names = Array.from({ length: count }, (_, i) => `s${i}`)
  for (const name of names.splice(0, 1)) await client.call("POST", SECRETS, secret(name, name))
  await Promise.all(
    names.map(async (name) => {
      expect((await client.call("POST", SECRETS, secret(name, name))).status).toBe(201)
    }),
  )
  return new Map(Array.from({ length: count }, (_, i) => [`s${i}`, `s${i}`]))
}

async function contents(server: TestServer): Promise<Map<string, string>> {
  using client = apiClient(server.kubeconfig)
  const { status, body } = await client.call("GET", SECRETS)
  expect(status, body.slice(0, 500)).toBe(200)
  const items: ReturnType<typeof secret>[] = JSON.parse(body).items
  return new Map(
    items.map(({ metadata, data }) => [
      metadata.name,
      Buffer.from(data.value, "base64").toString(),
    ]),
  )
}

interface Status {
  readonly activekey: string
  readonly inactivekeys?: readonly string[]
  readonly servers: readonly { readonly name: string; readonly ready: boolean }[]
  readonly flagerrors?: readonly string[]
}

async function statusOf(server: TestServer): Promise<Status> {
  const { stdout, stderr } = await keyturn(server, ["secrets-encrypt", "status", "-o", "json"])
  expect(stdout, stderr).not.toBe("")
  return JSON.parse(stdout)
}

const readyNodes = async (server: TestServer): Promise<Record<string, string>> => {
  const said = await kubectlSaid(server, ["get", "nodes", "--no-headers"])
  const words = said
    .trimEnd()
    .split("\n")
    .map((line) => line.split(/ +/))
  return Object.fromEntries(words.map(([name = "", status = ""]) => [name, status]))
}

/** Every stored byte string is under the one writing key, and every server reads what was acknowledged. */
async function check(
  datastore: Datastore,
  servers: readonly TestServer[],
  expected: ReadonlyMap<string, string>,
) {
  for (const server of servers) {
    const { activekey, inactivekeys = [] } = await statusOf(server)
    expect(inactivekeys).toEqual([])
    expect(await keysInUse(datastore)).toEqual([activekey.replace(/^AES-CBC /, "aescbc:v1:")])
    expect(await contents(server)).toEqual(expected)
  }
}

/** Begun on `server`, which stands still in the middle: values are under the old key and under the new one. Returns since when. */
async function beginRotation({ cluster, datastore }: Three, server: TestServer): Promise<number> {
  await cluster.stop(server)
  await server.start([], "batch:after@2=SIGSTOP")
  using client = apiClient(server.kubeconfig)
  const asked = client.call("PUT", "/v1-keyturn/encrypt/config", { stage: "rotate_keys" })
  asked.catch(() => {}) // whether it was answered before does not matter
  await untilStopped(server)
  const stoppedMs = performance.now()
  expect(await datastore.operation()).toMatchObject({ state: "running", holder: "s1" })
  expect(await keysInUse(datastore)).toHaveLength(2)
  return stoppedMs
}

test("the holder of a rewrite is killed: another goes on within 10 s, and no rotation waits for the dead", {
  timeout: 180_000,
}, async () => {
  await using three = await startThree()
  const { cluster, datastore, s1, s2, s3 } = three
  const expected = await createSecrets(s2, SECRETS_COUNT)
  const stoppedMs = await beginRotation(three, s1)
  await cluster.stop(s1, "SIGKILL")
  await until(async () => (await datastore.operation())?.holder !== "s1", PATIENCE)
  const takenMs = performance.now() - stoppedMs
  await until(async () => (await datastore.operation())?.state === "finished", PATIENCE)
  const finishedMs = performance.now() - stoppedMs
  console.info(
    `taken over after ${Math.round(takenMs)} ms, finished after ${Math.round(finishedMs)} ms`,
  )
  expect(takenMs).toBeGreaterThan(LEASE_MS - BEAT_MS)
  expect((await datastore.operation())?.holder).toMatch(/^s[23]$/)
  await check(datastore, [s2, s3], expected)

  await until(async () => (await readyNodes(s2))["s1"] === "NotReady", PATIENCE)
  const notReadyMs = performance.now() - stoppedMs
  console.info(`NotReady after ${Math.round(notReadyMs)} ms`)
  expect(await readyNodes(s3)).toEqual({ s1: "NotReady", s2: "Ready", s3: "Ready" })
  const rotated = await keyturn(s3, ["secrets-encrypt", "rotate-keys"])
  expect(rotated).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })

  await kubectlSaid(s2, ["delete", "node", "s1"])
  const again = await keyturn(s2, ["secrets-encrypt", "rotate-keys"])
  expect(again).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })
  await check(datastore, [s2, s3], expected)
  await until(
    async () => !(await datastore.has("/registry/leases/kube-system/keyturn-s1")),
    PATIENCE,
  )

  // There a Node that is deleted takes its server out of the cluster: embedded-cluster.test.ts.
  if (isEmbedded) return
  await kubectlSaid(s2, ["delete", "node", "s3"])
  await until(async () => "s3" in (await readyNodes(s2)), PATIENCE)
  await cluster.start(s1)
  expect(await readyNodes(s2)).toEqual({ s1: "Ready", s2: "Ready", s3: "Ready" })
  await check(datastore, [s1, s2, s3], expected)
})

test("the holder of a rewrite is stopped, and wakes after another rotation: no harm", {
  timeout: 180_000,
}, async () => {
  await using three = await startThree()
  const { cluster, datastore, s1, s2, s3 } = three
  const expected = await createSecrets(s2, SECRETS_COUNT)
  const stoppedMs = await beginRotation(three, s1)
  {
    using client = apiClient(s3.kubeconfig)
    for (const name of ["s1", `s${SECRETS_COUNT - 1}`]) {
      expect((await client.call("PUT", `${SECRETS}/${name}`, secret(name, "new"))).status).toBe(200)
      expected.set(name, "new")
    }
    expect((await client.call("DELETE", `${SECRETS}/s2`)).status).toBe(200)
    expected.delete("s2")
  }
  const finished = async () => (await datastore.operation())?.state === "finished"
  await until(finished, PATIENCE)
  await until(async () => (await readyNodes(s2))["s1"] === "NotReady", PATIENCE)
  const rotated = await keyturn(s2, ["secrets-encrypt", "rotate-keys"])
  expect(rotated).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })
  await until(() => performance.now() - stoppedMs > 12_000, PATIENCE)
  cluster.resume(s1)
  await until(async () => (await readyNodes(s2))["s1"] === "Ready", PATIENCE)
  await check(datastore, [s1, s2, s3], expected)
  expect(await datastore.operation()).toMatchObject({
    state: "finished",
    holder: "s2",
    unreadable: 0,
  })
})

test("status -o wide shows each server, and which flags differ; a server that ends gives its work away", {
  timeout: 120_000,
}, async () => {
  await using three = await startThree((n) =>
    n === 3 ? ["--secrets-encryption-provider", "aesgcm"] : [],
  )
  const { cluster, datastore, s1, s2, s3 } = three
  const wide = await keyturn(s1, ["secrets-encrypt", "status", "-o", "wide"])
  const text = await keyturn(s1, ["secrets-encrypt", "status"])
  expect(wide.stdout.startsWith(text.stdout)).toBe(true)
  const lines = wide.stdout.slice(text.stdout.length).split("\n")
  expect(lines).toEqual([
    expect.stringMatching(/^Server +Status +Stage +Hash +Epoch +Last Seen$/),
    expect.stringMatching(/^-+ +-+ +-+ +-+ +-+ +-+$/),
    expect.stringMatching(/^s1 +Ready +start +[0-9a-f]{12} +\d+ +0s ago$/),
    expect.stringMatching(/^s2 +Ready +start +[0-9a-f]{12} +\d+ +[0-3]s ago$/),
    expect.stringMatching(/^s3 +Ready +start +[0-9a-f]{12} +\d+ +[0-3]s ago$/),
    "",
    "Flags differ: --secrets-encryption-provider is aescbc on s1, s2 and aesgcm on s3",
    "",
  ])
  expect((await statusOf(s2)).servers).toMatchObject([
    { name: "s1", ready: true },
    { name: "s2", ready: true },
    { name: "s3", ready: true },
  ])

  const expected = await createSecrets(s2, SECRETS_COUNT)
  await beginRotation(three, s1)
  const ended = cluster.stop(s1)
  process.kill(s1.pid, "SIGCONT")
  expect(await ended).toBe(0)
  const endedMs = performance.now()
  await until(async () => (await datastore.operation())?.state === "finished", PATIENCE)
  expect((await datastore.operation())?.holder).toMatch(/^s[23]$/)
  console.info(`finished ${Math.round(performance.now() - endedMs)} ms after its holder ended`)
  await check(datastore, [s2, s3], expected)
  expect((await kubectl(s2, ["get", "node", "s1"])).code).toBe(0)
})
