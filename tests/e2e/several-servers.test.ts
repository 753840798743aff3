/** Three servers on one datastore beyond K3s' lists: readers and writers on all of them throughout a rotation, encryption turned
 *  on where there was none, a token that another server changed. */
import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { apiClient } from "../harness/api.ts"
import { Cluster } from "../harness/cluster.ts"
import { deal, isEmbedded } from "../harness/dealt.ts"
import { expectFilled, fill } from "../harness/filling.ts"
import { until } from "../harness/process.ts"
import { expectQuiet } from "../harness/quiet.ts"
import {
  ENABLED,
  expectStatus,
  keyName,
  keysIn,
  MATCH,
  secretsEncrypt,
  stage,
} from "../harness/secrets-encrypt.ts"
import { keyturn, kubectlSaid, type TestServer } from "../harness/server.ts"
import { Traffic } from "../harness/traffic.ts"

/** `npm run test:soak` takes the 5,000 of the acceptance list. */
const SECRETS = Number(process.env.KEYTURN_TEST_SECRETS ?? 500)
const WORKERS = 8
/** Beside requests a rewrite takes about a thousand rows a second (rotation/pace.ts), and each finds more rows than the one before. */
const REWRITE_MS_MAX = Math.max(30_000, SECRETS * 20)

const dealt = deal()

const path = "/api/v1/namespaces/default/secrets"
/** Standard output of a verb that ends with its rewrite. */
async function rewrite(server: TestServer, ...words: readonly string[]): Promise<string> {
  const options = { timeoutMs: REWRITE_MS_MAX }
  const { code, stdout, stderr } = await keyturn(server, ["secrets-encrypt", ...words], options)
  expect(code, stderr).toBe(0)
  return stdout
}

const storedKeys = async ({ datastore }: Cluster) => Object.keys(await datastore.censusOfSecrets())

test("eight writers and readers on all servers throughout rotations: none fails, and nothing stays under an old key", {
  timeout: 600_000,
}, async () => {
  // docs/pains.md 3
  await using cluster = await dealt.start({ args: ["--secrets-encryption"] })
  await fill(cluster, SECRETS)
  await using traffic = new Traffic(cluster, { workers: WORKERS, pauseMs: 0 })
  let under = "aescbc:v1:aescbckey"
  for (const server of cluster.servers) {
    expect(await storedKeys(cluster)).toEqual([under])
    const began = performance.now()
    await rewrite(server, "rotate-keys")
    const tookMs = Math.round(performance.now() - began)
    // The proof of the verb's end holds for what is written after it too: no writer has the old key any more.
    const keys = await storedKeys(cluster)
    expect(keys).toHaveLength(1)
    expect(keys).not.toEqual([under])
    under = keys[0] ?? ""
    console.info(
      `rotation: ${tookMs} ms, ${traffic.writes} writes and ${traffic.reads} reads so far`,
    )
  }
  await traffic.end()
  for (const server of cluster.servers) {
    const status = await expectStatus(server, ENABLED, stage("reencrypt_finished"), MATCH)
    expect(keysIn(status).map(keyName)).toEqual([under.replace("aescbc:v1:", "")])
    await expectFilled(server, SECRETS)
    expectQuiet(server)
  }
  expect(await storedKeys(cluster)).toEqual([under])
})

test("encryption is turned on where there was none: one command, from any server, no restart", {
  timeout: 120_000,
}, async () => {
  // https://github.com/k3s-io/k3s/issues/13598, https://github.com/k3s-io/k3s/issues/13595 (docs/pains.md 1)
  await using cluster = await dealt.start()
  await fill(cluster, SECRETS)
  await using traffic = new Traffic(cluster, { workers: WORKERS })
  expect(await storedKeys(cluster)).toEqual(["plain"])
  const said = await rewrite(cluster.server(3), "enable", "--wait")
  expect(said).toBe("secrets-encryption enabled\nreencryption finished\n")
  expect(await storedKeys(cluster)).toEqual(["aescbc:v1:aescbckey"])
  await traffic.end()
  for (const server of cluster.servers) {
    await expectStatus(server, ENABLED, stage("start"), MATCH)
    await expectFilled(server, SECRETS)
    expectQuiet(server)
  }
})

test("verbs that follow each other at once, each from another server, are taken", {
  timeout: 120_000,
}, async () => {
  await using cluster = await dealt.start({ args: ["--secrets-encryption"] })
  const supervise = async (n: number, body: object) => {
    using api = apiClient(cluster.server(n).kubeconfig)
    return (await api.call("PUT", "/v1-k3s/encrypt/config", body)).status
  }
  for (let round = 0; round < 3; round++) {
    expect(await supervise(1, { stage: "prepare" })).toBe(200)
    expect(await supervise(2, { stage: "rotate" })).toBe(200)
    expect(await supervise(3, { stage: "reencrypt_active" })).toBe(200)
    await expectStatus(cluster.server(1), stage("reencrypt_finished"))
  }
})

const tokenOf = ({ dataDir }: TestServer) => readFileSync(dataDirPaths(dataDir).token, "utf8")

test.skipIf(isEmbedded)(
  "token rotate: servers that run follow, one that was away is told since when another one holds",
  {
    timeout: 120_000,
  },
  async () => {
    await using cluster = await dealt.start({
      args: ["--secrets-encryption"],
      token: null,
      count: 1,
    })
    const s1 = cluster.server(1)
    const args = ["--secrets-encryption", "--node-name"]
    const first = tokenOf(s1)
    await using more = new Cluster(cluster.datastore, { token: first.trim(), count: 2 })
    const [s2, s3] = [more.server(1), more.server(2)]
    await s2.start([...args, "s2"])
    await s3.start([...args, "s3"])
    await expectStatus(s3, MATCH)
    expect([tokenOf(s2), tokenOf(s3)]).toEqual([first, first])
    await more.stop(s3)
    await kubectlSaid(s1, ["delete", "node", "s3"])

    const before = new Date().toISOString()
    let last = first
    for (const server of [s1, s2, s1]) {
      const { code, stdout } = await keyturn(server, ["token", "rotate"])
      expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^K10/) })
      await until(() => [s1, s2].every((each) => tokenOf(each) === stdout))
      const status = async (each: TestServer, token: string) =>
        (await keyturn(each, ["secrets-encrypt", "status", "--token", token.trim()])).code
      for (const each of [s1, s2])
        expect([await status(each, last), await status(each, stdout)]).toEqual([23, 0])
      // It goes on with the keys as well: a rotation by the other one, and a write after it.
      await secretsEncrypt(server === s1 ? s2 : s1, "rotate-keys")
      using api = apiClient(server.kubeconfig)
      const secret = { apiVersion: "v1", kind: "Secret", metadata: { generateName: "after-" } }
      expect((await api.call("POST", path, secret)).status).toBe(201)
      last = stdout
    }

    const refused = await s3.start([...args, "s3"]).then(
      () => "started",
      (error: unknown) => String(error),
    )
    const since = /\(tokens from before (\S+) no longer do\); it opens by: server token of \1/
    expect(refused).toMatch(since)
    expect((since.exec(refused)?.[1] ?? "") > before).toBe(true)
    await s3.start([...args, "s3", "--token", last.trim()])
    await expectStatus(s3, stage("reencrypt_finished"), MATCH)
    expect(tokenOf(s3)).toBe(last)
    for (const server of [s1, s2, s3]) {
      expectQuiet(server)
      expect(server.logs()).not.toContain(last.trim())
    }
  },
)
