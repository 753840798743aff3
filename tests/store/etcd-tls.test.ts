/** etcd over TLS: whom keyturn trusts, and what it shows of itself. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { issueAdmin, issueServing, makeAuthorities } from "../../src/cluster/issue.ts"
import type { KnownError } from "../../src/errors.ts"
import { openEtcd } from "../../src/store/etcd.ts"
import type { TlsFiles } from "../../src/store/tls-files.ts"
import { create, failure, live } from "../contract/store-helpers.ts"
import { Etcd } from "../harness/etcd.ts"
import { until } from "../harness/process.ts"
import { missing, needs } from "../harness/programs.ts"

needs("etcd")
let folder: string
let etcd: Etcd
let files: { ca: string; cert: string; key: string; otherCa: string }
const file = (name: string, content: string): string => {
  const path = join(folder, name)
  writeFileSync(path, content, { mode: 0o600 })
  return path
}

beforeAll(async () => {
  if ((await missing("etcd")) !== undefined) return
  folder = mkdtempSync(join(tmpdir(), "keyturn-tls-"))
  const now = new Date()
  const { server: ca, client } = await makeAuthorities(now)
  const serving = await issueServing(ca, { names: ["127.0.0.1"], now })
  const admin = await issueAdmin(client, { now })
  files = {
    ca: file("ca.crt", ca.cert),
    otherCa: file("other.crt", client.cert),
    cert: file("own.crt", admin.cert),
    key: file("own.key", admin.key),
  }
  const args = [
    `--cert-file=${file("server.crt", serving.cert)}`,
    `--key-file=${file("server.key", serving.key)}`,
    `--trusted-ca-file=${file("clients.crt", client.cert)}`,
    "--client-cert-auth",
  ]
  etcd = await Etcd.start({ args })
  const answers = () => spoken(files).then(Boolean, () => false)
  await until(answers, { timeoutMs: 20_000, what: "etcd answers" })
})
afterAll(async () => {
  await etcd?.[Symbol.asyncDispose]()
  if (folder !== undefined) rmSync(folder, { recursive: true })
})

/** What a store that is opened so finds of what it wrote. */
async function spoken(tls: TlsFiles, { host = "127.0.0.1" } = {}): Promise<Record<string, string>> {
  const store = await openEtcd({ endpoints: [`https://${host}:${etcd.port}`], tls })
  try {
    await create(store, `n${Math.random()}`, "x")
    return await live(store)
  } finally {
    await store.close()
  }
}

test("a server is trusted by its authority and its name, and shown a certificate", async () => {
  const { ca, cert, key, otherCa } = files
  expect(Object.values(await spoken({ ca, cert, key }))).toContain("x")
  expect(await failure(spoken({ ca: otherCa, cert, key }))).toBe("StoreUnavailable")
  expect(await failure(spoken({ ca: null, cert, key }))).toBe("StoreUnavailable")
  expect(await failure(spoken({ ca, cert, key }, { host: "127.0.0.2" }))).toBe("StoreUnavailable")
  expect(await failure(spoken({ ca, cert: null, key: null }))).toBe("StoreUnavailable")
  expect(await failure(spoken({ ca: join(folder, "none"), cert, key }))).toBe("FilesUnreadable")
})

test("plain HTTP to it, and TLS to one without, is refused in time and asked about", async () => {
  await using plain = await Etcd.start()
  for (const endpoint of [`http://127.0.0.1:${etcd.port}`, `https://127.0.0.1:${plain.port}`]) {
    const start = performance.now()
    const { code, message } = await openEtcd({ endpoints: [endpoint] }).then(
      () => ({ code: "no failure", message: "" }),
      (error: unknown) => error as KnownError,
    )
    expect({ code, message }).toEqual({
      code: "StoreUnavailable",
      message: expect.stringMatching(/; is an etcd there, and is it http or https as said\?$/),
    })
    expect(performance.now() - start).toBeLessThan(8_000)
  }
})
