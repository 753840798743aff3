/** What servers on one datastore tell of what lies there: `verify` of each of them and beside them, `plan`, the metric, the refusal of plain
 *  text that somebody puts there; and `abort`, taken by another server than the one that rewrites. */
import { isDeepStrictEqual } from "node:util"
import { expect, test } from "vitest"
import { encodeObject } from "../../src/format/codec.ts"
import type { Plan } from "../../src/rewriter/plan.ts"
import type { Verification } from "../../src/rewriter/verify.ts"
import { apiClient } from "../harness/api.ts"
import { plant } from "../harness/beside.ts"
import { type Cluster, startCluster, TOKEN } from "../harness/cluster.ts"
import { command } from "../harness/command.ts"
import { deal, isEmbedded } from "../harness/dealt.ts"
import { expectFilled, fill } from "../harness/filling.ts"
import { until } from "../harness/process.ts"
import { expectNoBug, expectQuiet } from "../harness/quiet.ts"
import { expectStatus, MATCH, secretsEncrypt, stage } from "../harness/secrets-encrypt.ts"
import { keyturn, kubectlSaid, type TestServer, untilStopped } from "../harness/server.ts"

const [USAGE, KEY_KEPT, NOT_PROVEN, ABORTED] = [2, 18, 32, 34]
const SECRETS = "/api/v1/namespaces/default/secrets"
const args = ["--secrets-encryption"]
const dealt = deal()

interface Verified {
  readonly code: number
  readonly stderr: string
  readonly found: Verification
}

/** By each of the servers, and by a command that reads the datastore itself. */
async function verified(cluster: Cluster, ...flags: readonly string[]): Promise<Verified[]> {
  const words = ["secrets-encrypt", "verify", "-o", "json", ...flags]
  const { endpoint } = cluster.datastore
  const beside = ["--datastore-endpoint", endpoint, "--token", TOKEN]
  const told = await Promise.all([
    ...cluster.servers.map((server) => keyturn(server, words)),
    command([...words, ...beside]),
  ])
  return told.map(({ code, stdout, stderr }) => {
    expect(stdout, stderr).not.toBe("")
    return { code, stderr, found: JSON.parse(stdout) as Verification }
  })
}

const codes = (all: readonly Verified[]) => all.map(({ code }) => code)
const each = <T>(of: T): T[] => [of, of, of, of]

async function get(server: TestServer, path: string) {
  using api = apiClient(server.kubeconfig)
  return await api.call("GET", path)
}

/** Of `keyturn_secrets_stored` what is not 0, by `provider key`, and its revision. */
async function stored(server: TestServer) {
  const { body } = await get(server, "/metrics")
  const counts = body.matchAll(
    /^keyturn_secrets_stored\{key="([^"]*)",provider="([^"]*)"\} (\d+)$/gm,
  )
  const all = Array.from(counts, ([, key, provider, count]) => [`${provider} ${key}`, count])
  return {
    counts: Object.fromEntries(all.filter(([, count]) => count !== "0")),
    revision: /^keyturn_secrets_stored_revision (\d+)$/m.exec(body)?.[1],
  }
}

/** Waits until every server tells the same, and scans the revision that each of them states. */
async function expectStored(cluster: Cluster, expected: Readonly<Record<string, number>>) {
  const wanted = Object.fromEntries(Object.entries(expected).map(([at, n]) => [at, String(n)]))
  const total = Object.values(expected).reduce((sum, count) => sum + count, 0)
  for (const server of cluster.servers) {
    let seen = await stored(server)
    const isThere = async () => {
      seen = await stored(server)
      return isDeepStrictEqual(seen.counts, wanted)
    }
    await until(isThere, { timeoutMs: 30_000, intervalMs: 100 }).catch(() => {})
    expect(seen.counts).toEqual(wanted)
    if ("identity " in expected) continue // such a list is refused
    const at = `resourceVersion=${seen.revision}&resourceVersionMatch=Exact`
    const { status, body } = await get(server, `/api/v1/secrets?${at}`)
    expect(status, body.slice(0, 500)).toBe(200)
    expect(JSON.parse(body).items).toHaveLength(total)
  }
}

const create = (server: TestServer, name: string) =>
  kubectlSaid(server, ["create", "secret", "generic", name, "--from-literal=p=planted"])

test.skipIf(isEmbedded)(
  "verify, plan and the metric tell the same on every server as the stored bytes do",
  { timeout: 240_000 },
  async () => {
    const datastore = await dealt.newDatastore()
    await using cluster = await startCluster(datastore, { args })
    const [s1, s2, s3] = [cluster.server(1), cluster.server(2), cluster.server(3)]
    const isEtcd = dealt.engine().name === "etcd"
    await create(s1, "a")
    await expectStored(cluster, { "aescbc aescbckey": 1 })
    await create(s2, "b")
    await kubectlSaid(s3, ["label", "secret", "a", "changed=yes"])
    const first = await verified(cluster, "--open")
    expect(codes(first)).toEqual(each(0))
    for (const { found } of first)
      expect(found).toMatchObject({
        opened: true,
        writingkey: "aescbckey",
        live: 2,
        stored: isEtcd ? 2 : 4,
        keys: [{ name: "aescbckey", state: "writing", live: 2 }],
        unencrypted: { stored: 0, infiles: null },
        unreadable: { stored: 0 },
        problems: [],
      })
    await expectStored(cluster, { "aescbc aescbckey": 2 })

    const snapshot = await datastore.snapshot()
    const { work } = JSON.parse(await secretsEncrypt(s3, "plan", "-o", "json")) as Plan
    await secretsEncrypt(s2, "rotate-keys")
    const rewritten = (await datastore.operation())?.rewritten
    expect(work).toMatchObject({ secrets: 2, values: rewritten, events: isEtcd ? rewritten : 0 })
    const refused = await keyturn(s1, ["secrets-encrypt", "reencrypt", "--vacuum"])
    expect(refused).toMatchObject({ code: USAGE, stdout: "" })
    expect(refused.stderr).toContain("--vacuum is for SQLite")
    expect(codes(await verified(cluster, "--key", "aescbckey"))).toEqual(each(0))
    const [{ found } = { found: undefined }] = await verified(cluster)
    await expectStored(cluster, { [`aescbc ${found?.writingkey}`]: 2 })

    // Rows of a copy from before the rotation come back.
    await snapshot.putBackSecrets()
    const back = await verified(cluster, "--open")
    expect(codes(back)).toEqual(each(NOT_PROVEN))
    for (const { stderr, found } of back) {
      expect(stderr).toMatch(/stored values are under the key "aescbckey" \(.*secrets\/default\/a/)
      expect(found.keys.find(({ name }) => name === "aescbckey")).toMatchObject({
        state: "archived",
        live: 2,
        names: expect.arrayContaining(["/registry/secrets/default/a"]),
      })
    }
    await secretsEncrypt(s1, "reencrypt", "--force", "--wait")
    expect(codes(await verified(cluster, "--open"))).toEqual(each(0))
    for (const server of cluster.servers) expectQuiet(server)
  },
)

const EVIL = {
  apiVersion: "v1",
  kind: "Secret",
  metadata: { namespace: "default", name: "evil" },
  data: { p: Buffer.from("evil").toString("base64") },
  type: "Opaque",
}

test.skipIf(isEmbedded)(
  "plain text that somebody puts into the datastore is refused by every server, until disable",
  { timeout: 240_000 },
  async () => {
    await using cluster = await dealt.start({ args })
    const { servers, datastore } = cluster
    const [s1, s2, s3] = [cluster.server(1), cluster.server(2), cluster.server(3)]
    await create(s1, "own")
    const key = "/registry/secrets/default/evil"
    const said = `${key}: the value is plain text`
    await secretsEncrypt(s1, "rotate-keys")
    await plant(datastore, { key, value: encodeObject(EVIL) })

    const expectRefused = async () => {
      for (const server of servers) {
        for (const path of [`${SECRETS}/evil`, SECRETS]) {
          const { status, body } = await get(server, path)
          expect({ status, body }).toEqual({ status: 500, body: expect.stringContaining(said) })
        }
        expect((await get(server, `${SECRETS}/own`)).status).toBe(200)
      }
    }
    // Until a server has followed the end of the rotation, nothing was proven for it.
    for (const server of servers)
      await until(async () => (await get(server, `${SECRETS}/evil`)).status === 500, {
        timeoutMs: 15_000,
        what: "the end of the rotation is followed",
      })
    await expectRefused()
    const told = await verified(cluster)
    expect(codes(told)).toEqual(each(NOT_PROVEN))
    for (const { found, stderr } of told) {
      expect(found.unencrypted).toMatchObject({ live: 1, names: [key] })
      expect(stderr).toContain(`1 stored value is in plain text (${key})`)
    }
    const writes = `aescbc ${told[0]?.found.writingkey}`
    await expectStored(cluster, { [writes]: 1, "identity ": 1 })

    const turned = await keyturn(s2, ["secrets-encrypt", "rotate-keys"])
    expect(turned).toMatchObject({ code: KEY_KEPT, stderr: expect.stringContaining(said) })
    await expectRefused()

    await secretsEncrypt(s3, "disable", "--wait")
    for (const server of servers) {
      const { status, body } = await get(server, `${SECRETS}/evil`)
      expect(status, body).toBe(200)
      expect(JSON.parse(body).data).toEqual(EVIL.data)
    }
    await expectStored(cluster, { "identity ": 2 })
    await secretsEncrypt(s1, "enable", "--wait")
    expect(codes(await verified(cluster, "--open"))).toEqual(each(0))
  },
)

/** More than the first three batches. */
const MANY = 2_000

test("abort by another server than the one that rewrites: the old key writes on all, and nothing is lost", {
  timeout: 240_000,
}, async () => {
  await using cluster = await dealt.start({ args })
  const { servers, datastore } = cluster
  const [s1, s2, s3] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  await fill(cluster, MANY)
  await cluster.stop(s1)
  await s1.start([], "batch:after@2=SIGSTOP")
  const turning = keyturn(s1, ["secrets-encrypt", "rotate-keys"], { timeoutMs: 120_000 })
  await untilStopped(s1)

  const began = performance.now()
  expect(await secretsEncrypt(s2, "abort")).toBe("rotation aborted\n")
  console.info(`abort: ${Math.round(performance.now() - began)} ms`)
  expect(await datastore.operation()).toMatchObject({ state: "aborted", holder: "s1" })
  const under = await datastore.censusOfSecrets()
  expect(Object.keys(under)).toHaveLength(2)
  for (const server of [s2, s3]) await expectFilled(server, MANY)

  cluster.resume(s1)
  expect(await turning).toMatchObject({ code: ABORTED, stdout: "" })
  for (const server of servers) {
    const status = await expectStatus(server, stage("start"), MATCH)
    expect(status).toMatch(/^ \* +AES-CBC +aescbckey$/m)
    await expectFilled(server, MANY)
    // One that stood still for long may tell of a batch that was not answered in time.
    if (server === s1) expectNoBug(server)
    else expectQuiet(server)
  }
  // No batch of the aborted rewrite came after it.
  expect(await datastore.censusOfSecrets()).toEqual(under)
  await create(s1, "after")
  const [after] = (await datastore.secrets()).filter(({ key }) => key.endsWith("/after"))
  expect(after?.bytes.toString()).toMatch(/^k8s:enc:aescbc:v1:aescbckey:/)

  await secretsEncrypt(s3, "rotate-keys")
  expect(Object.keys(await datastore.censusOfSecrets())).toHaveLength(1)
})
