/** One server on MariaDB, as its user starts it: Secrets by kubectl, a rotation, a restart, the database gone and
 *  back. */
import { afterAll, beforeAll, expect, test } from "vitest"
import { Mariadb } from "../harness/mariadb.ts"
import { until } from "../harness/process.ts"
import { missing, needs } from "../harness/programs.ts"
import { keyturn, kubectl, startServer, type TestServer } from "../harness/server.ts"

needs("kubectl", "mariadb")
let mariadb: Mariadb
beforeAll(async () => {
  if ((await missing("mariadb")) === undefined) mariadb = await Mariadb.start()
})
afterAll(() => mariadb?.[Symbol.asyncDispose]())

/** How many stored byte strings of Secrets are under which key, and what else. */
async function census(database: string): Promise<Record<string, number>> {
  const rows = await mariadb.query(
    database,
    `SELECT HEX(LEFT(bytes, 100)) FROM (
       SELECT name, value AS bytes FROM kine UNION ALL SELECT name, old_value FROM kine
     ) AS stored WHERE name LIKE '/registry/secrets/%' AND bytes IS NOT NULL`,
  )
  const counts: Record<string, number> = {}
  for (const [hex] of rows) {
    const text = Buffer.from(String(hex), "hex").toString("latin1")
    const [, under = "plain"] = /^k8s:enc:\w+:v1:([^:]+(?::\d\d:[^:]+)?):/.exec(text) ?? []
    counts[under] = (counts[under] ?? 0) + 1
  }
  return counts
}

async function succeeds(server: TestServer, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await kubectl(server, words)
  expect({ code, stderr }, words.join(" ")).toMatchObject({ code: 0 })
  return stdout
}

const passwordOf = (server: TestServer, name: string) =>
  succeeds(server, "get", "secret", name, "-o", "jsonpath={.data.password}")

test("Secrets are kept, turned to a new key and found again by a server that starts anew", async () => {
  const url = mariadb.url("keyturn_e2e")
  const env = { KEYTURN_DATASTORE_ENDPOINT: url }
  await using server = await startServer({ env, args: ["--secrets-encryption"] })
  for (const name of ["a", "b", "c"])
    await succeeds(server, "create", "secret", "generic", name, `--from-literal=password=${name}`)
  await succeeds(server, "delete", "secret", "c")
  const before = await census("keyturn_e2e")
  // The tombstone's old value is one as well.
  expect(Object.values(before)).toEqual([4])
  const rotated = await keyturn(server, ["secrets-encrypt", "rotate-keys"])
  expect(rotated).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })
  const after = await census("keyturn_e2e")
  expect(Object.values(after)).toEqual([4])
  expect(Object.keys(after)).not.toEqual(Object.keys(before))

  await server.restart()
  expect(await passwordOf(server, "a")).toBe(Buffer.from("a").toString("base64"))
  await server.kill9()
  await server.start()
  expect(await passwordOf(server, "b")).toBe(Buffer.from("b").toString("base64"))

  await mariadb.crash()
  const { code, stderr } = await kubectl(server, ["get", "secret", "a"])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("ECONNREFUSED") })
  await mariadb.start()
  const again = async () => (await kubectl(server, ["get", "secret", "a"])).code === 0
  await until(again, { timeoutMs: 10_000 })
  expect(await server.stop()).toBe(0)
  expect(server.logs()).toContain("MySQL database keyturn_e2e at 127.0.0.1")
  expect(server.logs()).not.toContain(mariadb.address("").password)
})

test("a wrong password stops the start with the reason, and is not shown", async () => {
  const url = mariadb.url("keyturn_e2e").replace(/:[^:@]+@/, ":wr0ng-p4ssword@")
  const env = { KEYTURN_DATASTORE_ENDPOINT: url }
  const refused = startServer({ env }).then(
    () => "started",
    (error: unknown) => String(error),
  )
  expect(await refused).toMatch(/error: MySQL database keyturn_e2e at .* Access denied.*1045/)
  expect(await refused).not.toContain("wr0ng")
})
