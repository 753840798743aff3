/** The first start: cut off at any moment, with keys of one's own, on a database of one's own; and the keys that a later start
 *  finds in files. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterAll, expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { apiClient } from "../harness/api.ts"
import { Program, run } from "../harness/process.ts"
import { expectQuiet } from "../harness/quiet.ts"
import { random } from "../harness/random.ts"
import { KEYTURN, keyturn, kubectl, startServer, TestServer } from "../harness/server.ts"
import { censusOfSecrets } from "../harness/stored.ts"

const home = mkdtempSync(join(tmpdir(), "keyturn-first-"))
afterAll(() => rmSync(home, { recursive: true }))

const statusOf = async (server: TestServer) =>
  (await keyturn(server, ["secrets-encrypt", "status"])).stdout

async function create(server: TestServer, name: string) {
  const argv = ["create", "secret", "generic", name, `--from-literal=of=${name}`]
  const { code, stderr } = await kubectl(server, argv)
  expect(code, stderr).toBe(0)
}

const read = async (server: TestServer, name: string) =>
  (await kubectl(server, ["get", "secret", name, "-o", "jsonpath={.data.of}"])).stdout

/** On a machine that has better to do it is fewer. */
const SEEDS = 30

test("kill -9 at any moment of the first start: the next one comes up, with one keyring, and encrypts", async () => {
  const seed = Number(process.env.KEYTURN_TEST_SEED ?? 20261124)
  const next = random(seed)
  const left = new Set<string>()
  const began = performance.now()
  await (await startServer({ args: ["--secrets-encryption"] })).kill9()
  const wholeMs = performance.now() - began
  const oneLife = async (n: number) => {
    const dataDir = join(home, `life-${n}`)
    const args = ["server", "--config", "/dev/null", "--data-dir", dataDir]
    const more = ["--https-listen-port", "0", "--secrets-encryption"]
    const { PATH } = process.env
    for (let kills = next() < 0.3 ? 2 : 1; kills > 0; kills--) {
      const program = new Program(KEYTURN, [...args, ...more], { env: { PATH, HOME: home } })
      // Before it the runtime loads the program; two at a time take longer than one.
      const afterMs = wholeMs * (0.4 + next() * 1.2)
      await new Promise((resolve) => setTimeout(resolve, afterMs))
      await program.end("SIGKILL")
      left.add(traceOf(dataDir))
    }
    await using server = await startServer({ dataDir, args: ["--secrets-encryption"] })
    using api = apiClient(server.kubeconfig)
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "one" } }
    const { status } = await api.call("POST", "/api/v1/namespaces/default/secrets", secret)
    expect(status, `seed ${seed}`).toBe(201)
    expect(Object.keys(censusOfSecrets(dataDir)), `seed ${seed}`).toEqual(["aescbc:v1:aescbckey"])
    using db = new DatabaseSync(dataDirPaths(dataDir).state, { readOnly: true })
    expect(db.prepare("SELECT name FROM keyturn_record").all()).toEqual([{ name: "keyring" }])
    expect(db.prepare("SELECT count(*) AS n FROM keyturn_fence").get()).toEqual({ n: 1 })
    expectQuiet(server)
  }
  const enoughMs = performance.now() + 25_000
  for (let n = 0; n < SEEDS && performance.now() < enoughMs; n += 2)
    await Promise.all([oneLife(n), oneLife(n + 1)])
  expect(left.size, "the moments were all the same").toBeGreaterThan(1)
})

/** How far a start had come: the files that lie there, and whether there is a keyring. */
function traceOf(dataDir: string): string {
  if (statSync(dataDir, { throwIfNoEntry: false }) === undefined) return "nothing"
  return readdirSync(dataDir, { recursive: true, encoding: "utf8" }).toSorted().join(" ")
}

const KEY = Buffer.alloc(32, 1).toString("base64")
const OTHER = Buffer.alloc(32, 2).toString("base64")

const providers = (...entries: readonly string[]) => `kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
- resources: [secrets]
  providers:
${entries.map((entry) => `  - ${entry}\n`).join("")}  - identity: {}
`
const keyed = (provider: string, name: string, secret: string) =>
  `${provider}: {keys: [{name: "${name}", secret: ${secret}}]}`

function file(text: string): string {
  const path = join(mkdtempSync(join(home, "config-")), "config.yaml")
  writeFileSync(path, text)
  return path
}

const configured = (path: string) => ["--encryption-provider-config", path]

test.each([
  ["aescbc", "AES-CBC"],
  ["aesgcm", "AES-GCM"],
  ["secretbox", "XSalsa20-POLY1305"],
])("an empty data directory is begun with own keys of %s", async (provider, type) => {
  const path = file(providers(keyed(provider, "mine:1", KEY), keyed("aesgcm", "old", OTHER)))
  await using server = await startServer({ args: configured(path) })
  expect(await statusOf(server)).toMatch(
    new RegExp(`Enabled\n[^]* \\* +${type} +mine:1\n +AES-GCM +old\n`),
  )
  await create(server, "one")
  using db = new DatabaseSync(dataDirPaths(server.dataDir).state, { readOnly: true })
  const row = db
    .prepare("SELECT value FROM kine WHERE name = '/registry/secrets/default/one'")
    .get()
  const stored = Buffer.from(row?.["value"] as Uint8Array).toString("latin1")
  expect(stored).toMatch(new RegExp(`^k8s:enc:${provider}:v1:mine:1:`))
  expect(await keyturn(server, ["secrets-encrypt", "rotate-keys"])).toMatchObject({ code: 0 })
  await server.restart()
  expect(await read(server, "one")).toBe(Buffer.from("one").toString("base64"))
  expectQuiet(server)
})

test("identity first: nothing is encrypted until it is asked for, and then under the key that is there", async () => {
  const text = providers("identity: {}", keyed("aescbc", "mine", KEY)).replace(
    / {2}- identity: \{\}\n$/,
    "",
  )
  await using server = await startServer({ args: configured(file(text)) })
  await create(server, "one")
  expect(censusOfSecrets(server.dataDir)).toEqual({ plain: 1 })
  expect(await keyturn(server, ["secrets-encrypt", "enable", "--wait"])).toMatchObject({ code: 0 })
  expect(Object.keys(censusOfSecrets(server.dataDir))).toEqual(["aescbc:v1:mine"])
})

test("a file with mistakes: all of them at once, exit code 2, and nothing is begun with it", async () => {
  const bad = `kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
- resources: [Secrets]
  providers:
  - aescbc: {keys: [{name: a, secret: c2hvcnQ=}, {name: "", secret: ${KEY}}]}
  - secretbox: {keys: []}
`
  const mistakes = [
    'resources[0].resources[0]: Invalid value: "Secrets": resource name should not contain capital letters',
    "resources[0].providers[0].aescbc.keys[0].secret: Invalid value",
    "resources[0].providers[0].aescbc.keys[1].name: Required value",
    "resources[0].providers[1].secretbox.keys: Required value",
  ]
  const dataDir = join(home, "mistakes")
  const given = ["--config", "/dev/null", "--data-dir", dataDir, "--https-listen-port", "0"]
  const start = (text: string) => run(KEYTURN, ["server", ...given, ...configured(file(text))])
  const refused = await start(bad)
  expect(refused).toMatchObject({ code: 2, stdout: "" })
  for (const mistake of mistakes) expect(refused.stderr).toContain(mistake)
  expect(refused.stderr).not.toContain("c2hvcnQ")
  for (const text of [
    "",
    "kind: Secret\n",
    "{",
    providers("kms: {name: k, endpoint: unix:///x, apiVersion: v2}"),
  ])
    expect(await start(text), text).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^keyturn: error: .+\n$/),
    })
  const { token, state } = dataDirPaths(dataDir)
  expect(statSync(token, { throwIfNoEntry: false })).toBeUndefined()
  using db = new DatabaseSync(state, { readOnly: true })
  expect(db.prepare("SELECT * FROM keyturn_record").all()).toEqual([])
})

test("a key that only a file has is taken in, for reading; another one of the same name is refused by its name", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  await create(server, "one")
  await server.stop()
  const { encryptionConfig } = dataDirPaths(server.dataDir)
  const own = readFileSync(encryptionConfig, "utf8")
  const foreign = JSON.stringify({ keys: [{ name: "lost", secret: OTHER }] })
  writeFileSync(
    encryptionConfig,
    own.replace('{"identity"', `{"secretbox":${foreign}},{"identity"`),
  )
  await server.start()
  expect(await statusOf(server)).toMatch(/ \* +AES-CBC +aescbckey\n +XSalsa20-POLY1305 +lost\n/)
  await create(server, "two")
  expect(Object.keys(censusOfSecrets(server.dataDir))).toEqual(["aescbc:v1:aescbckey"])
  await server.restart(configured(file(providers(keyed("aesgcm", "given", KEY)))))
  expect(await statusOf(server)).toMatch(/ \* +AES-CBC +aescbckey\n[^]*given\n[^]*lost\n/)
  await server.restart()
  expect(await server.stop()).toBe(0)
  const told = server.logs().match(/(?<=WARN the keyring .* taken in, for reading keys=).*/g)
  expect(told).toEqual(['["lost"]', '["given"]'])

  const before = readFileSync(encryptionConfig, "utf8")
  writeFileSync(encryptionConfig, before.replace(OTHER, KEY))
  const clash =
    /^keyturn: error: the key "lost" \(secretbox\) is in the keyring already with other bytes/m
  await expect(server.start()).rejects.toThrow(clash)
  expect(readFileSync(encryptionConfig, "utf8")).toBe(before.replace(OTHER, KEY))
  writeFileSync(encryptionConfig, before)
  const twin = configured(file(providers(keyed("aescbc", "given", OTHER))))
  await expect(server.start(twin)).rejects.toThrow(
    /the key "given" \(aescbc\) .* other bytes \(aesgcm\)/,
  )
  expect(server.logs()).not.toContain(OTHER)
  await server.start()
  expect(await read(server, "two")).toBe(Buffer.from("two").toString("base64"))
})

test("the database may lie elsewhere, as private as at home, and for one server at a time", async () => {
  const path = join(home, "elsewhere", "data.db")
  const endpoint = ["--datastore-endpoint", `sqlite://${path}`]
  await using server = await startServer({ args: ["--secrets-encryption", ...endpoint] })
  await create(server, "one")
  expect(readdirSync(join(server.dataDir, "server/db"))).toEqual([])
  for (const each of [path, `${path}-wal`, `${path}-shm`])
    expect(statSync(each).mode & 0o777).toBe(0o600)
  await server.restart()
  expect(await read(server, "one")).toBe(Buffer.from("one").toString("base64"))
  await server.stop()

  // Watchers of one server would not see what another one writes to the same file.
  const { token } = dataDirPaths(server.dataDir)
  await server.start()
  const beside = await startOn(endpoint, "--token-file", token)
  expect(beside).toMatchObject({ code: 19, stdout: "" })
  expect(beside.stderr).toContain(`${path} is in use by the server with pid ${server.pid}`)
  expect(beside.stderr).toMatch(/hint: .*--data-dir and a --datastore-endpoint that no other uses/)
  await server.stop()

  // Without the token of that datastore nobody begins a keyring of his own in it.
  const refused = await startOn(endpoint)
  expect(refused).toMatchObject({
    code: 15,
    stderr: expect.stringMatching("it opens by: server token of"),
  })
  expect(statSync(dataDirPaths(SECOND).token, { throwIfNoEntry: false })).toBeUndefined()
})

const SECOND = join(home, "second")

/** A start of a second server, which is to fail. */
function startOn(endpoint: readonly string[], ...more: readonly string[]) {
  const own = ["--config", "/dev/null", "--data-dir", SECOND, "--https-listen-port", "0"]
  return run(KEYTURN, ["server", "--secrets-encryption", ...own, ...endpoint, ...more])
}
