/** PostgreSQL over TLS: whom keyturn trusts, and what it shows of itself. */
import { chownSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test, vi } from "vitest"
import { issueAdmin, issueServing, makeAuthorities } from "../../src/cluster/issue.ts"
import { openPostgres } from "../../src/store/postgres.ts"
import type { PostgresAddress } from "../../src/store/postgres-url.ts"
import { NO_TLS_FILES as NONE, type TlsFiles } from "../../src/store/tls-files.ts"
import { failure } from "../contract/store-helpers.ts"
import { Postgres, postgresUser } from "../harness/postgres.ts"
import { missing, needs } from "../harness/programs.ts"

needs("postgres")
let folder: string
const file = (name: string, content: string): string => {
  const path = join(folder, name)
  writeFileSync(path, content, { mode: 0o600 })
  return path
}
let server: Postgres
let serverFiles: Record<"ssl_cert_file" | "ssl_key_file", string>
let files: { ca: string; cert: string; key: string; otherCa: string }

beforeAll(async () => {
  if ((await missing("postgres")) !== undefined) return
  folder = mkdtempSync(join(tmpdir(), "keyturn-tls-"))
  const now = new Date()
  const { server: ca, client } = await makeAuthorities(now)
  const serving = await issueServing(ca, { names: ["127.0.0.1"], now })
  const admin = await issueAdmin(client, { now })
  const settings = {
    ssl_cert_file: file("server.crt", serving.cert),
    ssl_key_file: file("server.key", serving.key),
    ssl_ca_file: file("clients.crt", client.cert),
  }
  const user = await postgresUser()
  for (const path of [folder, ...Object.values(settings)]) {
    if (user !== undefined) chownSync(path, user.uid, user.gid)
  }
  const own = { cert: file("own.crt", admin.cert), key: file("own.key", admin.key) }
  files = { ca: file("ca.crt", ca.cert), otherCa: file("other.crt", client.cert), ...own }
  serverFiles = settings
  const lines = Object.entries(settings).map(([name, path]) => `${name}=${path}`)
  server = await Postgres.start("ssl=on", ...lines)
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
  if (folder !== undefined) rmSync(folder, { recursive: true })
})

/** `<TLS or not> <the name that the client's certificate says>` of a store's connection. */
async function spoken(tls: TlsFiles, sslMode?: PostgresAddress["sslMode"]): Promise<string> {
  const address = { ...server.newDatabase(), sslMode }
  const store = await openPostgres({ address, tls })
  const [row] = await server.query(
    address.database,
    `SELECT ssl, COALESCE(client_dn, 'nobody') FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
     WHERE application_name = 'keyturn' AND datname = '${address.database}' LIMIT 1`,
  )
  await store.close()
  return String(row?.join(" "))
}

test("it is spoken where the server does, and not where it must not be", async () => {
  expect(await spoken(NONE)).toBe("true nobody")
  expect(await spoken(NONE, "require")).toBe("true nobody")
  expect(await spoken(NONE, "disable")).toBe("false nobody")
})

test("a server is trusted by its authority and its name", async () => {
  const { ca, otherCa } = files
  expect(await spoken({ ...NONE, ca })).toBe("true nobody")
  expect(await failure(spoken({ ...NONE, ca: otherCa }))).toBe("StoreUnavailable")
  expect(await failure(spoken({ ...NONE, ca: otherCa }, "verify-ca"))).toBe("StoreUnavailable")
  expect(await failure(spoken(NONE, "verify-full"))).toBe("StoreUnavailable")
})

test("a certificate is shown where one is given", async () => {
  const { ca, cert, key } = files
  expect(await spoken({ ca, cert, key })).toBe("true /O=system:masters/CN=system:admin")
})

test("renewed certificates, ours and the server's, are used without a restart", async () => {
  const address = server.newDatabase()
  const tls = { ca: `${files.ca}.renewed`, cert: files.cert, key: files.key }
  copyFileSync(files.ca, tls.ca)
  const store = await openPostgres({ address, tls })
  const read = () => store.list({ prefix: "/registry/secrets/", limit: 1 })
  await read()
  const now = new Date()
  const { server: ca } = await makeAuthorities(now)
  const serving = await issueServing(ca, { names: ["127.0.0.1"], now })
  writeFileSync(serverFiles.ssl_cert_file, serving.cert)
  writeFileSync(serverFiles.ssl_key_file, serving.key)
  writeFileSync(tls.ca, ca.cert)
  await server.query(address.database, "SELECT pg_reload_conf()")
  await server.query(
    address.database,
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keyturn'",
  )
  await vi.waitFor(read, { timeout: 5_000 })
  expect(await failure(spoken({ ...tls, ca: files.ca }))).toBe("StoreUnavailable")
  await store.close()
})
