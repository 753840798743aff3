import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { issueAdmin, makeAuthorities } from "../cluster/issue.ts"
import { NO_TLS_FILES, tlsOf } from "./tls-files.ts"

const folder = mkdtempSync(join(tmpdir(), "keyturn-tls-files-"))
afterAll(() => rmSync(folder, { recursive: true }))
const now = new Date()
const { client } = await makeAuthorities(now)
const [one, two] = [await issueAdmin(client, { now }), await issueAdmin(client, { now })]
const [cert, key] = [join(folder, "own.crt"), join(folder, "own.key")]

test("a file that is not there is named", () => {
  const read = tlsOf({ ...NO_TLS_FILES, key: "/no/such/file" }, "PostgreSQL")
  expect(read).toThrow(/a file for TLS to PostgreSQL: ENOENT.*\/no\/such\/file/)
})

test.each(["", "\n", "no PEM"])("a CA file with %j is none, at first and later", (text) => {
  const ca = join(folder, "ca.crt")
  const read = tlsOf({ ...NO_TLS_FILES, ca }, "MySQL")
  writeFileSync(ca, text)
  expect(read).toThrow(/a file for TLS to MySQL: /)
  writeFileSync(ca, client.cert)
  expect(read()).toEqual({ ca: client.cert })
  writeFileSync(ca, text)
  expect(read()).toEqual({ ca: client.cert })
})

test("renewed files are used once they belong together", () => {
  const read = tlsOf({ ca: null, cert, key }, "etcd")
  writeFileSync(cert, one.cert)
  writeFileSync(key, two.key)
  expect(read).toThrow(/a file for TLS to etcd: .*mismatch; given are \S+own\.crt, \S+own\.key$/)
  writeFileSync(key, one.key)
  expect(read()).toEqual({ cert: one.cert, key: one.key })
  writeFileSync(cert, two.cert)
  expect(read()).toEqual({ cert: one.cert, key: one.key })
  rmSync(key)
  expect(read()).toEqual({ cert: one.cert, key: one.key })
  writeFileSync(key, two.key)
  expect(read()).toEqual({ cert: two.cert, key: two.key })
})
