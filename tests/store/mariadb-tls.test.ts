/** MariaDB over TLS: whom keyturn trusts, and what it shows of itself. */
import { chownSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test, vi } from "vitest"
import { issueAdmin, issueServing, makeAuthorities } from "../../src/cluster/issue.ts"
import { openMysql } from "../../src/store/mysql.ts"
import type { MysqlAddress } from "../../src/store/mysql-url.ts"
import { NO_TLS_FILES as NONE, type TlsFiles } from "../../src/store/tls-files.ts"
import { failure } from "../contract/store-helpers.ts"
import { Mariadb, mariadbUser } from "../harness/mariadb.ts"
import { missing, needs } from "../harness/programs.ts"

needs("mariadb")
let folder: string
const file = (name: string, content: string): string => {
  const path = join(folder, name)
  writeFileSync(path, content, { mode: 0o600 })
  return path
}
let server: Mariadb
let serverFiles: Record<"ssl-cert" | "ssl-key", string>
let files: { ca: string; cert: string; key: string; otherCa: string }

beforeAll(async () => {
  if ((await missing("mariadb")) !== undefined) return
  folder = mkdtempSync(join(tmpdir(), "keyturn-tls-"))
  const now = new Date()
  const { server: ca, client } = await makeAuthorities(now)
  const serving = await issueServing(ca, { names: ["127.0.0.1"], now })
  const admin = await issueAdmin(client, { now })
  const settings = {
    "ssl-cert": file("server.crt", serving.cert),
    "ssl-key": file("server.key", serving.key),
    "ssl-ca": file("clients.crt", client.cert),
  }
  serverFiles = settings
  const user = await mariadbUser()
  for (const path of [folder, ...Object.values(settings)]) {
    if (user !== undefined) chownSync(path, user.uid, user.gid)
  }
  const own = { cert: file("own.crt", admin.cert), key: file("own.key", admin.key) }
  files = { ca: file("ca.crt", ca.cert), otherCa: file("other.crt", client.cert), ...own }
  server = await Mariadb.start(...Object.entries(settings).map(([name, path]) => `${name}=${path}`))
  await server.query("", "CREATE USER known@'127.0.0.1' IDENTIFIED BY 'known' REQUIRE X509")
  await server.query("", "GRANT ALL ON *.* TO known@'127.0.0.1'")
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
  if (folder !== undefined) rmSync(folder, { recursive: true })
})

/** Whether a store's connections speak TLS. */
async function spoken(tls: TlsFiles, overrides: Partial<MysqlAddress> = {}): Promise<string> {
  const before = await count("Ssl_accepts")
  const store = await openMysql({ address: { ...server.newDatabase(), ...overrides }, tls })
  await store.close()
  return (await count("Ssl_accepts")) > before ? "TLS" : "plain"
}

async function count(status: string): Promise<number> {
  const [row] = await server.query("", `SHOW GLOBAL STATUS LIKE '${status}'`)
  return Number(row?.[1])
}

test("it is spoken where the address asks for it", async () => {
  expect(await spoken(NONE)).toBe("plain")
  expect(await spoken(NONE, { tls: "preferred" })).toBe("TLS")
  expect(await spoken(NONE, { tls: "skip-verify" })).toBe("TLS")
  expect(await spoken({ ...NONE, ca: files.ca }, { tls: "false" })).toBe("plain")
})

test("a connection that ends takes leave", async () => {
  const address = server.newDatabase()
  await server.query("", `CREATE DATABASE ${address.database}`)
  const before = await count("Aborted_clients")
  const store = await openMysql({ address, tls: { ...NONE, ca: files.ca } })
  await store.list({ prefix: "/registry/secrets/", limit: 1 })
  await store.close()
  expect(await count("Aborted_clients")).toBe(before)
})

test("a server is trusted by its authority and its name", async () => {
  const { ca, otherCa } = files
  expect(await spoken({ ...NONE, ca })).toBe("TLS")
  expect(await failure(spoken({ ...NONE, ca: otherCa }))).toBe("StoreUnavailable")
  expect(await failure(spoken(NONE, { tls: "true" }))).toBe("StoreUnavailable")
  expect(await failure(spoken({ ...NONE, ca }, { host: "localhost" }))).toBe("StoreUnavailable")
})

test("a certificate is shown where one is given", async () => {
  const { ca, cert, key } = files
  const known = { user: "known", password: "known" }
  expect(await spoken({ ca, cert, key }, known)).toBe("TLS")
  expect(await failure(spoken({ ...NONE, ca }, known))).toBe("StoreRefused")
})

test("renewed certificates, ours and the server's, are used without a restart", async () => {
  const address = server.newDatabase()
  const tls = { ca: `${files.ca}.renewed`, cert: files.cert, key: files.key }
  copyFileSync(files.ca, tls.ca)
  const store = await openMysql({ address, tls })
  const read = () => store.list({ prefix: "/registry/secrets/", limit: 1 })
  await read()
  const now = new Date()
  const { server: ca } = await makeAuthorities(now)
  const serving = await issueServing(ca, { names: ["127.0.0.1"], now })
  writeFileSync(serverFiles["ssl-cert"], serving.cert)
  writeFileSync(serverFiles["ssl-key"], serving.key)
  writeFileSync(tls.ca, ca.cert)
  await server.query("", "FLUSH SSL")
  const sessions = await server.query(
    "",
    `SELECT id FROM information_schema.processlist WHERE db = '${address.database}'`,
  )
  for (const [id] of sessions) await server.query("", `KILL ${String(id)}`)
  await vi.waitFor(read, { timeout: 5_000 })
  expect(await failure(spoken({ ...tls, ca: files.ca }))).toBe("StoreUnavailable")
  await store.close()
})

test("where the server has none, it is spoken only where it must be", async () => {
  await using plain = await Mariadb.start("skip-ssl")
  const open = async (tls: "preferred" | "skip-verify") => {
    const store = await openMysql({ address: { ...plain.newDatabase(), tls } })
    await store.close()
  }
  expect(await failure(open("preferred"))).toBe("no failure")
  expect(await failure(open("skip-verify"))).toBe("StoreUnavailable")
})
