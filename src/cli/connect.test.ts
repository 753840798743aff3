import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { beforeAll, expect, onTestFinished, test } from "vitest"
import { command } from "../../tests/harness/command.ts"
import { type Reply, startSupervisor, strangers } from "../../tests/harness/supervisor.ts"
import { caHash, formatToken } from "../cluster/token.ts"
import { ERRORS, type ErrorCode } from "../errors.ts"

const STATUS = ["secrets-encrypt", "status"]
const ENABLE = ["secrets-encrypt", "enable"]
const to = ({ url, token }: { url: string; token: string }) => ["--server", url, "--token", token]

/** Standard error of a command that ended in `code`; its hint is for the same server. */
const failed = (code: ErrorCode, message: string, url = "") => {
  const { exit } = ERRORS[code]
  const hint = ERRORS[code].hint.replace(/(?<=\brun: keyturn [a-z -]+)$/, ` --server ${url}`)
  const said = hint === "" ? "" : `keyturn: hint: ${hint}\n`
  return { code: exit, stdout: "", stderr: `keyturn: error: ${message}\n${said}` }
}

test("the server that the token names gets the password, as the user server whatever the token says", async () => {
  await using server = await startSupervisor()
  const token = server.token.replace("::server:", "::somebody:")
  const { code, stderr } = await command([...STATUS, ...to({ ...server, token })])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  const basic = `Basic ${Buffer.from("server:p4ss").toString("base64")}`
  expect(server.received.map(({ authorization }) => authorization)).toEqual([basic, basic])
})

test("a server with another CA than the token's never sees the password", async () => {
  const other = (await strangers).server.cert
  await using server = await startSupervisor()
  const token = formatToken({ caHash: caHash(other), user: "server", password: "p4ss" })
  const why = `token CA hash does not match the Cluster CA certificate hash: ${caHash(other)} != ${caHash(server.ca)}`
  expect(await command([...STATUS, ...to({ ...server, token })])).toEqual(
    failed("TokenInvalid", why),
  )
  expect(server.received).toEqual([])
})

test("a server that shows the right CA, but is not certified by it, never sees the password", async () => {
  const shown = (await strangers).server.cert
  await using server = await startSupervisor({ cacerts: { text: shown } })
  const token = formatToken({ caHash: caHash(shown), user: "server", password: "p4ss" })
  const { code, stderr } = await command([...STATUS, ...to({ ...server, token })])
  expect(code).toBe(ERRORS.ServerUntrusted.exit)
  expect(stderr).toContain(`CA cert validation failed: ${server.url}: `)
  expect(server.received).toEqual([])
})

test("a certificate for other names is not accepted, and the hint says how it would be", async () => {
  await using server = await startSupervisor({ names: ["elsewhere.example"] })
  const { code, stderr } = await command([...STATUS, ...to(server)])
  expect(code).toBe(ERRORS.ServerUntrusted.exit)
  expect(stderr).toContain("--tls-san")
  expect(server.received).toEqual([])
})

test("a password without a CA hash is used, with a warning", async () => {
  await using server = await startSupervisor()
  const { code, stderr } = await command([...STATUS, ...to({ ...server, token: "p4ss" })])
  expect(code).toBe(0)
  expect(stderr).toContain("keyturn: warning: Cluster CA certificate is not trusted by the host CA")
  expect(stderr).not.toContain("p4ss")
})

test.each([
  ["K10abc::server:p4ss", "invalid token CA hash length"],
  ["K10::p4ss", "invalid token format"],
  [
    "abcdef.0123456789abcdef",
    "failed to normalize token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>",
  ],
])("the token %s is refused in K3s' words", async (token, message) => {
  const asked = await command([...STATUS, ...to({ url: "https://127.0.0.1:1", token })])
  expect(asked).toEqual(failed("TokenInvalid", message))
})

test("nobody listens", async () => {
  const { url, token } = await startSupervisor().then(async (server) => {
    await server[Symbol.asyncDispose]()
    return server
  })
  const why = `cannot reach ${url}: connection refused`
  expect(await command([...STATUS, ...to({ url, token })])).toEqual(
    failed("ServerUnreachable", why),
  )
})

const STATUS_OF = (reason: string, message: string) => ({ kind: "Status", reason, message })

test.each<[string, Reply, ErrorCode, string]>([
  [
    "a failure of the server's keeps its code",
    { status: 409, json: STATUS_OF("WrongStage", "no") },
    "WrongStage",
    "no",
  ],
  [
    "as does one with a name of Kubernetes'",
    { status: 401, json: STATUS_OF("Unauthorized", "not authorized") },
    "Unauthorized",
    "not authorized",
  ],
  [
    "an unknown one is told with its status",
    { status: 400, json: STATUS_OF("Odd", "odd") },
    "ServerFailed",
    "URL: 400 odd",
  ],
  [
    "another server's answer is not quoted",
    { status: 404, text: "secret-page" },
    "ServerFailed",
    "URL: 404",
  ],
  [
    "nor is one that only looks right",
    { text: "secret-page" },
    "ServerFailed",
    "URL: 200, but the answer is not JSON",
  ],
  ["wrong credentials", { status: 401, text: "" }, "Unauthorized", "URL: 401"],
  ["the wrong group", { status: 403, text: "" }, "Forbidden", "URL: 403"],
  ["not ready, without a promise", { status: 503, text: "" }, "ServerStarting", "URL: 503"],
  [
    "the connection is cut",
    null,
    "OutcomeUnknown",
    "ORIGIN may have done it, but its answer did not come: connection reset by peer",
  ],
])("%s", async (_, reply, code, message) => {
  await using server = await startSupervisor({ reply: () => reply })
  const url = `${server.url}/v1-keyturn/encrypt/config`
  const said = message.replace("URL", url).replace("ORIGIN", server.url)
  const outcome = await command([...ENABLE, ...to(server)])
  // Cut by the other side, a TLS connection says so in more than one way.
  const stderr = outcome.stderr.replace(/socket hang up|ECONNRESET/, "connection reset by peer")
  expect({ ...outcome, stderr }).toEqual(failed(code, said, server.url))
})

test("a server that is starting is waited for, and the verb is given to it once it takes it", async () => {
  let asked = 0
  const starting = { status: 503, headers: { "retry-after": "1" } }
  await using server = await startSupervisor({
    reply: () => (++asked < 3 ? starting : { json: { operation: null } }),
  })
  const outcome = await command([...ENABLE, ...to(server)])
  expect(outcome).toEqual({
    code: 0,
    stdout: "secrets-encryption enabled\n",
    stderr: "keyturn: nothing to do: enable had been taken before\n",
  })
  expect(asked).toBe(3)
})

let dataDir = ""
beforeAll(() => {
  dataDir = mkdtempSync(join(tmpdir(), "keyturn-connect-"))
  mkdirSync(join(dataDir, "server"))
  return () => rmSync(dataDir, { recursive: true })
})

test("on the server's machine its data directory is enough; flags beat the environment, that beats the disk", async () => {
  await using server = await startSupervisor()
  writeFileSync(join(dataDir, "server/token"), `${server.token}\n`)
  const kubeconfig = join(dataDir, "keyturn.yaml")
  onTestFinished(() => rmSync(kubeconfig, { force: true }))
  writeFileSync(kubeconfig, `clusters:\n- cluster:\n    server: ${server.url}\n`)
  const env = { KEYTURN_DATA_DIR: dataDir }
  const outcomes = [
    await command([...STATUS, "--data-dir", dataDir]),
    await command(["secrets-encrypt", "--data-dir", dataDir, "status"]),
    await command(STATUS, { env }),
    await command(STATUS, { env: { ...env, KEYTURN_URL: "", KEYTURN_TOKEN: "" } }),
    await command(STATUS, { env: { KEYTURN_URL: server.url, KEYTURN_TOKEN: server.token } }),
    await command([...STATUS, ...to(server)], {
      env: { KEYTURN_URL: "https://127.0.0.1:1", KEYTURN_TOKEN: "K10" },
    }),
  ]
  for (const { code, stderr } of outcomes) expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  const nobody = await command(STATUS, { env: { ...env, KEYTURN_URL: "https://127.0.0.1:1" } })
  expect(nobody.code).toBe(ERRORS.ServerUnreachable.exit)
})

test("without a token the missing file is named", async () => {
  const empty = join(dataDir, "none")
  const why = `no token was given, and there is no file ${empty}/server/token`
  expect(await command([...STATUS, "-d", empty])).toEqual(failed("Unauthorized", why))
})
