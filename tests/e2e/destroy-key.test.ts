/** A key that is destroyed: refused while anything needs it, and gone from the keyring and from every file afterwards. */
import { copyFileSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterAll, beforeAll, expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { passwordOf } from "../../src/cluster/token.ts"
import { openRecord, readOutside } from "../../src/keyring/record.ts"
import { unlock } from "../../src/keyring/slots.ts"
import type { KeyListed } from "../../src/server/key-list.ts"
import { startCluster } from "../harness/cluster.ts"
import { dealEngine, type Engine } from "../harness/engines.ts"
import { until } from "../harness/process.ts"
import { secretsEncrypt } from "../harness/secrets-encrypt.ts"
import { keyturn, kubectl, kubectlSaid, startServer, type TestServer } from "../harness/server.ts"
import { filesBelow, KEEP_SECRETS, PUT_SECRETS_BACK } from "../harness/stored.ts"

let engine: Engine | undefined
beforeAll(async () => (engine = await dealEngine()))
afterAll(() => engine?.[Symbol.asyncDispose]())

const createSecret = (server: TestServer, name: string) =>
  kubectlSaid(server, ["create", "secret", "generic", name, "--from-literal=a=b"])

const destroy = (server: TestServer, name: string) =>
  keyturn(server, ["secrets-encrypt", "keys", "destroy", name, "--confirm", name])

async function keysOf(server: TestServer): Promise<KeyListed[]> {
  return JSON.parse(await secretsEncrypt(server, "keys", "-o", "json")).keys
}

const configOf = ({ dataDir }: TestServer) => dataDirPaths(dataDir).encryptionConfig

/** The key's bytes, as K3s' file holds them: in base64, and raw. */
function secretOf(server: TestServer, name: string): Buffer[] {
  const config = readFileSync(configOf(server), "utf8")
  const [, secret = ""] = new RegExp(`"name":"${name}","secret":"([^"]+)"`).exec(config) ?? []
  expect(secret).not.toBe("")
  return [Buffer.from(secret), Buffer.from(secret, "base64")]
}

/** Files below the data directory that hold one of the byte strings. */
const filesWith = ({ dataDir }: TestServer, ...wanted: readonly Buffer[]): string[] =>
  [...filesBelow(dataDir)]
    .filter(([, bytes]) => wanted.some((one) => bytes.includes(one)))
    .map(([path]) => path)

function sql<T>({ dataDir }: TestServer, run: (database: DatabaseSync) => T): T {
  using database = new DatabaseSync(dataDirPaths(dataDir).state)
  return run(database)
}

const storedRecord = (server: TestServer): Buffer =>
  sql(server, (database) => {
    const row = database.prepare("SELECT value FROM keyturn_record WHERE name = 'keyring'").get()
    return Buffer.from(row?.value as Uint8Array)
  })

/** What stands in the keyring's box, by the token that holds. */
async function inTheBox(server: TestServer): Promise<string[]> {
  const stored = storedRecord(server)
  const token = readFileSync(dataDirPaths(server.dataDir).token, "utf8").trim()
  const secret = passwordOf(token)
  const clusterKey = await unlock(readOutside(stored).slots, { kind: "token", secret })
  const { keys } = openRecord(stored, clusterKey).keyring
  return keys.map(({ secret: bytes }) => bytes.export().toString("base64"))
}

test("a key is destroyed once nothing needs it, and nothing that holds it is left in the data directory", {
  timeout: 180_000,
}, async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const { encryptionConfig, snapshots } = dataDirPaths(server.dataDir)
  for (const name of ["one", "two"]) await createSecret(server, name)
  const [base64, raw] = secretOf(server, "aescbckey")
  if (!base64 || !raw) throw new Error("no key")
  const kept = join(server.home, "config-of-then.json")
  copyFileSync(encryptionConfig, kept)
  sql(server, (database) => database.exec(KEEP_SECRETS))
  const refused = async (name: string, code: number, said: string) => {
    const answer = await destroy(server, name)
    expect(answer).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(said) })
  }
  await refused("aescbckey", 16, 'the key "aescbckey" is not retired, it is active')
  await refused("nobody", 1, 'there is no key "nobody"')
  await secretsEncrypt(server, "rotate-keys")
  expect(await inTheBox(server)).toContain(base64.toString())

  // Rows of an older backup come back.
  await server.stop()
  sql(server, (database) => database.exec(PUT_SECRETS_BACK))
  await server.restart()
  await refused(
    "aescbckey",
    18,
    '2 stored values need the key "aescbckey": /registry/secrets/default/',
  )
  await secretsEncrypt(server, "reencrypt", "--force", "--wait")
  await secretsEncrypt(server, "disable", "--wait")
  await secretsEncrypt(server, "enable", "--wait")
  const named = ["secrets-encrypt", "keys", "destroy", "aescbckey"]
  const unasked = await keyturn(server, named)
  expect(unasked).toMatchObject({ code: 2, stderr: expect.stringContaining("--confirm") })
  expect(await keyturn(server, [...named, "--confirm", "aescbckey2"])).toMatchObject({ code: 2 })

  const { code: saved } = await keyturn(server, ["snapshot", "save", "--name", "before"])
  expect(saved).toBe(0)
  const box = Buffer.from((JSON.parse(storedRecord(server).toString()) as { box: string }).box)
  sql(server, (database) => database.exec("DROP TABLE secrets_then"))
  const done = await destroy(server, "aescbckey")
  expect(done).toMatchObject({ code: 0, stdout: 'key "aescbckey" destroyed\n' })
  expect(done.stderr).toContain("  the snapshot before-")
  expect(done.stderr).toContain("  backups of the database's file")
  expect(await inTheBox(server)).not.toContain(base64.toString())
  const inSnapshots = (path: string) => path.startsWith(snapshots.slice(server.dataDir.length + 1))
  expect(
    filesWith(server, base64, raw, box.subarray(0, 64)).filter((path) => !inSnapshots(path)),
  ).toEqual([])
  expect(await keysOf(server)).toMatchObject([
    { name: "aescbckey", state: "destroyed", destroyed: expect.stringMatching(/^20/) },
    { state: "writing", storedvalues: expect.any(Number) },
  ])
  expect(await destroy(server, "aescbckey")).toMatchObject({ code: 0 })
  expect(await kubectlSaid(server, ["get", "secret", "one", "-o", "name"])).toBe("secret/one\n")

  // No file brings it back, be it the server's own of then or one that is named.
  await server.stop()
  writeFileSync(encryptionConfig, readFileSync(kept))
  await server.restart(["--encryption-provider-config", kept])
  expect(server.logs()).toMatch(/holds keys that were destroyed: they are not taken in/)
  expect(filesWith(server, base64, raw).filter((path) => !inSnapshots(path))).toEqual([])
  expect(await inTheBox(server)).not.toContain(base64.toString())
})

test("a value under a destroyed key fails with the key's name, and can be deleted", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  await createSecret(server, "one")
  sql(server, (database) => database.exec(KEEP_SECRETS))
  await secretsEncrypt(server, "rotate-keys")
  expect(await destroy(server, "aescbckey")).toMatchObject({ code: 0 })
  await server.stop()
  sql(server, (database) => database.exec(PUT_SECRETS_BACK))
  await server.restart()
  const { code, stderr } = await kubectl(server, ["get", "secret", "one"])
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: expect.stringMatching(
      /\/registry\/secrets\/default\/one: the value is under the aescbc key "aescbckey", which was destroyed at 20/,
    ),
  })
  const path = "/api/v1/namespaces/default/secrets/one"
  const option = "ignoreStoreReadErrorWithClusterBreakingPotential=true"
  await kubectlSaid(server, ["delete", "--raw", `${path}?${option}`])
})

test("servers with --encryption-reload=restart drop a destroyed key from their files at once", {
  timeout: 120_000,
}, async ({ skip }) => {
  if (engine === undefined) return skip("the engine is not installed")
  const args = ["--secrets-encryption", "--encryption-reload", "restart"]
  await using cluster = await startCluster(await engine.newDatastore(), { args })
  const { servers } = cluster
  const [s1, s2] = [cluster.server(1), cluster.server(2)]
  await createSecret(s1, "one")
  const secret = secretOf(s2, "aescbckey")
  await secretsEncrypt(s1, "rotate-keys")
  expect(filesWith(s2, ...secret)).toEqual(["server/cred/encryption-config.json"])
  expect(await destroy(s1, "aescbckey")).toMatchObject({ code: 0 })
  await until(() => servers.every((server) => filesWith(server, ...secret).length === 0))
  for (const server of servers) {
    expect(readFileSync(configOf(server), "utf8").match(/"secret":/g)).toHaveLength(1)
    expect(await kubectlSaid(server, ["get", "secret", "one", "-o", "name"])).toBe("secret/one\n")
  }
})
