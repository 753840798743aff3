/** Three servers whose datastore is put back by its own means to what it was before a rotation. */
import { randomUUID } from "node:crypto"
import { expect, test } from "vitest"
import { dataDirPaths, readToken } from "../../src/cluster/data-dir.ts"
import { apiClient } from "../harness/api.ts"
import { Cluster, startCluster } from "../harness/cluster.ts"
import { deal } from "../harness/dealt.ts"
import { until } from "../harness/process.ts"
import { expectNoBug, expectQuiet } from "../harness/quiet.ts"
import { ENABLED, expectStatus, MATCH, secretsEncrypt, stage } from "../harness/secrets-encrypt.ts"
import { keyturn, type TestServer } from "../harness/server.ts"

const dealt = deal()

const ENCRYPTED = { args: ["--secrets-encryption"] }
const SECRETS = "/api/v1/namespaces/default/secrets"
const base64 = (text: string) => Buffer.from(text).toString("base64")

async function write(server: TestServer, name: string): Promise<void> {
  using api = apiClient(server.kubeconfig)
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name } }
  const { status, body } = await api.call("POST", SECRETS, {
    ...secret,
    data: { of: base64(name) },
  })
  expect(status, body).toBe(201)
}

interface List {
  readonly metadata: { readonly resourceVersion: string }
  readonly items: readonly { readonly metadata: { readonly name: string }; readonly data: object }[]
}

/** Undefined while the datastore cannot be asked. */
async function list(server: TestServer): Promise<List | undefined> {
  using api = apiClient(server.kubeconfig)
  const { status, body } = await api.call("GET", SECRETS)
  if (status !== 200) expect([503, 504], body).toContain(status)
  return status === 200 ? (JSON.parse(body) as List) : undefined
}

async function expectSecrets(server: TestServer, ...names: readonly string[]): Promise<void> {
  const found = await until(() => list(server), { timeoutMs: 20_000 })
  const expected = names.toSorted().map((name) => [name, { of: base64(name) }])
  expect(found.items.map(({ metadata, data }) => [metadata.name, data])).toEqual(expected)
}

const FIRST = "aescbc:v1:aescbckey"
const storedKeys = async ({ datastore }: Cluster) => Object.keys(await datastore.censusOfSecrets())

/** What goes on after a restore as if nothing had been: writes on every server, and a rotation. */
async function expectTurning(cluster: Cluster, ...names: readonly string[]): Promise<void> {
  const [one] = cluster.servers
  expect(await storedKeys(cluster)).toEqual([FIRST])
  const more = cluster.servers.map((_, n) => `again-${n}`)
  for (const [n, server] of cluster.servers.entries()) await write(server, `again-${n}`)
  expect(await storedKeys(cluster)).toEqual([FIRST])
  if (one !== undefined) await secretsEncrypt(one, "rotate-keys")
  const [under, ...others] = await storedKeys(cluster)
  expect(others).toEqual([])
  expect(under).not.toBe(FIRST)
  for (const server of cluster.servers) {
    await expectStatus(server, ENABLED, stage("reencrypt_finished"), MATCH)
    await expectSecrets(server, ...names, ...more)
  }
}

const ADOPTED = /an older keyring came back in the datastore: it is adopted/g
const adoptions = (server: TestServer) => server.logs().match(ADOPTED)?.length ?? 0

test("a whole snapshot from before a rotation comes back while servers run: each adopts its keyring, and clients list again", {
  timeout: 240_000,
}, async () => {
  const datastore = await dealt.newDatastore()
  await using cluster = await startCluster(datastore, ENCRYPTED)
  const [one, two] = [cluster.server(1), cluster.server(2)]
  await write(one, "before")
  const snapshot = await datastore.snapshot()
  await secretsEncrypt(two, "rotate-keys")
  for (let n = 0; n < 50; n++) await write(one, `after-${n}`)
  const { metadata } = await until(() => list(one))
  const from = `${SECRETS}?watch=true&resourceVersion=${metadata.resourceVersion}`
  const clients = cluster.servers.map(({ kubeconfig }) => apiClient(kubeconfig))
  const told: string[][] = clients.map(() => [])
  const watches = clients.map(async (client, n) => {
    const lines = client.lines(`${from}&timeoutSeconds=60`, AbortSignal.timeout(90_000))
    for await (const line of lines) told[n]?.push(line)
  })
  await until(async () => {
    await write(one, `told-${randomUUID()}`)
    return told.every(({ length }) => length > 0)
  })

  await snapshot.putBack()
  await Promise.all(watches)
  for (const lines of told) expect(lines.at(-1)).toContain(`"code":410`)
  for (const client of clients)
    expect((await client.call("GET", `${from}&timeoutSeconds=5`)).body).toContain(`"code":410`)
  for (const client of clients) client[Symbol.dispose]()
  for (const server of cluster.servers) await expectSecrets(server, "before")
  for (const server of cluster.servers) await until(() => adoptions(server) > 0)
  await expectTurning(cluster, "before")
  expect(cluster.servers.map(adoptions)).toEqual([1, 1, 1])
  for (const server of cluster.servers) expectNoBug(server)
})

test("one from before a change of the token, while servers run: those of then go on, a later one is told what opens it", {
  timeout: 120_000,
}, async () => {
  const datastore = await dealt.newDatastore()
  await using cluster = await startCluster(datastore, ENCRYPTED)
  const [one, two, three] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  await write(one, "before")
  const snapshot = await datastore.snapshot()
  const then = readToken(dataDirPaths(one.dataDir))
  const { stdout: now } = await keyturn(one, ["token", "rotate"])
  const tokens = () => [one, two].map(({ dataDir }) => readToken(dataDirPaths(dataDir)))
  await until(() => tokens().every((token) => token === now.trim()))
  await secretsEncrypt(two, "rotate-keys")
  await cluster.stop(three)
  await cluster.start(three, ["--token", now.trim()])

  await snapshot.putBack()
  await until(() => tokens().every((token) => token === then), { timeoutMs: 20_000 })
  for (const server of [one, two]) await expectSecrets(server, "before")
  const told =
    /was replaced by one \(epoch \d+\) that nothing this server holds opens; it opens by: server token of/
  await until(() => told.test(three.logs()), { timeoutMs: 20_000 })
  using client = apiClient(three.kubeconfig)
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "refused" } }
  const { status, body } = await client.call("POST", SECRETS, secret)
  expect({ status, body }).toEqual({ status: 500, body: expect.stringMatching(told) })
  await expectSecrets(three, "before")
  await cluster.stop(three)
  await cluster.start(three)
  await expectTurning(cluster, "before")
  expect([one, two].map(adoptions)).toEqual([1, 1])
  for (const server of cluster.servers) expectNoBug(server)
})

test("one from before a change of the token, with the servers stopped: the token of then is asked for and adopts it", {
  timeout: 120_000,
}, async () => {
  const datastore = await dealt.newDatastore()
  await using cluster = await startCluster(datastore, {
    ...ENCRYPTED,
    token: null,
    count: 1,
  })
  const one = cluster.server(1)
  await write(one, "before")
  const then = readToken(dataDirPaths(one.dataDir)) ?? ""
  const snapshot = await datastore.snapshot()
  await keyturn(one, ["token", "rotate"])
  await secretsEncrypt(one, "rotate-keys")
  await write(one, "after")
  await cluster.stop(one)
  await snapshot.putBack()
  await expect(cluster.start(one)).rejects.toThrow(
    /does not open this datastore's keyring.*it opens by: server token of/,
  )
  await cluster.start(one, ["--token", then.trim()])
  await expectSecrets(one, "before")
  await expectTurning(cluster, "before")
  expect(one.logs().match(/they are taken in, for reading/g)).toHaveLength(1)
})

test("with the same token, all servers stopped: who starts first adopts it, in one line", {
  timeout: 120_000,
}, async () => {
  const datastore = await dealt.newDatastore()
  await using cluster = await startCluster(datastore, ENCRYPTED)
  await write(cluster.server(1), "before")
  const snapshot = await datastore.snapshot()
  await secretsEncrypt(cluster.server(2), "rotate-keys")
  await write(cluster.server(1), "after")
  for (const server of cluster.servers) await cluster.stop(server)
  await snapshot.putBack()
  await Promise.all(cluster.servers.map((server) => cluster.start(server)))
  for (const server of cluster.servers) await expectSecrets(server, "before")
  await expectTurning(cluster, "before")
  // Who comes after the first finds nothing to adopt.
  const said = cluster.servers.map(
    (server) => server.logs().match(/they are taken in, for reading|: it is adopted/g)?.length ?? 0,
  )
  expect(Math.max(...said)).toBe(1)
  for (const server of cluster.servers) expectQuiet(server)
})

test("the Secrets alone from before a rotation: archived keys open them, status -o wide names these, the next rotation covers them", {
  timeout: 120_000,
}, async () => {
  const datastore = await dealt.newDatastore()
  await using cluster = await startCluster(datastore, ENCRYPTED)
  const [one, two, three] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  const names = ["a", "b", "c"]
  for (const name of names) await write(one, name)
  const snapshot = await datastore.snapshot()
  await secretsEncrypt(two, "rotate-keys")
  await write(three, "after")
  const wide = async () => secretsEncrypt(three, "status", "-o", "wide")
  expect(await wide()).not.toContain("Archived")

  await snapshot.putBackSecrets()
  const { [FIRST]: old } = await cluster.datastore.censusOfSecrets()
  expect(old).toBe(3)
  for (const server of cluster.servers) await expectSecrets(server, ...names, "after")
  expect(await wide()).toMatch(
    /\n\nArchived keys still needed, until the next rotation:\nStored Values  Key Type  Name\n-+  -+  -+\n3 {14}AES-CBC   aescbckey\n\nServer /,
  )
  await secretsEncrypt(one, "rotate-keys")
  expect(await storedKeys(cluster)).toHaveLength(1)
  expect(await wide()).not.toContain("Archived")
  for (const server of cluster.servers) {
    await expectSecrets(server, ...names, "after")
    expectQuiet(server)
  }
})
