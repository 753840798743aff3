import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { Agent } from "node:https"
import type { AddressInfo } from "node:net"
import { once } from "node:events"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { startSupervisor, strangers } from "../../tests/harness/supervisor.ts"
import { caHash, parseToken } from "./token.ts"
import { isKnown } from "../errors.ts"
import { exchange } from "./http.ts"
import { trust } from "./trust.ts"

const ask = { timeoutMs: 5_000, signal: new AbortController().signal }
const codeOf = (error: unknown) => (isKnown(error) ? error.code : error)

/** A server whose CA is in the host's trust store, which OpenSSL looks for in this file; it is read once a process. */
const trusted = await startSupervisor()
const folder = mkdtempSync(join(tmpdir(), "keyturn-trust-"))
const store = join(folder, "ca.pem")
writeFileSync(store, trusted.ca)
process.env["SSL_CERT_FILE"] = store
process.env["SSL_CERT_DIR"] = folder
afterAll(async () => {
  await trusted[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const HASH = caHash((await strangers).server.cert)

test.each([
  ["no hash", "p4ss", null],
  [
    "another hash",
    `K10${HASH}::server:p4ss`,
    "Cluster CA certificate is trusted by the host CA bundle. Token CA hash will not be validated.",
  ],
])("the host's trust store is enough for a token with %s, as in K3s", async (_, token, warning) => {
  const found = await trust(new URL(trusted.url), parseToken(token), ask)
  expect(found.warning).toBe(warning)
  const url = new URL("/cacerts", trusted.url)
  expect((await exchange({ url, method: "GET", agent: found.agent, ...ask })).status).toBe(200)
})

test("the agent for one server accepts no other", async () => {
  const { agent } = await trust(new URL(trusted.url), parseToken(trusted.token), ask)
  const other = (await strangers).server
  await using impostor = await startSupervisor({ authority: other })
  const url = new URL("/cacerts", impostor.url)
  const code = exchange({ url, method: "GET", agent, ...ask }).catch(codeOf)
  expect(await code).toBe("ServerUntrusted")
})

test("a server that shows no CA and is not known to the host", async () => {
  const authority = (await strangers).server
  await using server = await startSupervisor({ authority, cacerts: { status: 404 } })
  const code = trust(new URL(server.url), parseToken("p4ss"), ask).catch(codeOf)
  expect(await code).toBe("ServerUntrusted")
})

/** Accepts connections and never says a word. */
async function startSilence(): Promise<Server> {
  const silence = createServer((socket) => socket.on("error", () => {}).resume())
  silence.listen(0, "127.0.0.1")
  await once(silence, "listening")
  return silence
}

test.each([
  ["GET", "ServerUnreachable"],
  ["PUT", "OutcomeUnknown"],
] as const)("no answer in time to a %s is %s", async (method, code) => {
  await using server = await startSupervisor({ reply: () => new Promise(() => {}) })
  const url = new URL("/v1-keyturn/encrypt/config", server.url)
  const agent = new Agent({ ca: server.ca })
  const answer = exchange({ url, method, agent, ...ask, timeoutMs: 200 }).catch(codeOf)
  expect(await answer).toBe(code)
})

test("a port that speaks no TLS ends in time", async () => {
  const silence = await startSilence()
  const { port } = silence.address() as AddressInfo
  const url = new URL(`https://127.0.0.1:${port}`)
  const code = trust(url, parseToken("p4ss"), { ...ask, timeoutMs: 200 }).catch(codeOf)
  expect(await code).toBe("ServerUnreachable")
  silence.close()
})
