import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, beforeAll, expect, test, vi } from "vitest"
import { runOperation } from "../../src/rewriter/run.ts"
import { endless } from "../harness/endless.ts"
import { http1, http2, type HttpClient } from "../harness/https.ts"
import { type Served, serveInProcess, SERVER_PASSWORD } from "../harness/served.ts"

let served: Served
let http: HttpClient

beforeAll(async () => {
  served = await serveInProcess()
  http = http1(served)
})
afterAll(async () => {
  http[Symbol.dispose]()
  await served.close()
})

const basic = (credentials: string) => `Basic ${Buffer.from(credentials).toString("base64")}`
const SERVER = basic(`server:${SERVER_PASSWORD}`)

async function ask(
  line: string,
  { authorization = SERVER, body }: { authorization?: string; body?: object } = {},
) {
  const [method = "", url = ""] = line.split(" ")
  const headers = authorization === "" ? {} : { authorization }
  const answer = await http.send({ method, url, headers, body: body && JSON.stringify(body) })
  const text = answer.body.toString()
  return { status: answer.status, body: text === "" ? "" : JSON.parse(text) }
}

// biome-ignore format: a table
test.each([
  ["",                          401, "not authorized"],
  [basic("server:wrong"),       401, "not authorized"],
  ["Bearer nope",               401, "not authorized"],
  ["Bearer limited",            403, "forbidden"],
])("with %j the status is %d", async (authorization, status, message) => {
  for (const prefix of ["v1-k3s", "v1-keyturn"])
    expect(await ask(`GET /${prefix}/encrypt/status`, { authorization })).toMatchObject({
      status,
      body: { kind: "Status", message },
    })
})

test("the server's password and the administrator's token both open it, under both prefixes", async () => {
  for (const authorization of [SERVER, "Bearer admin"])
    for (const prefix of ["v1-k3s", "v1-keyturn"])
      expect(await ask(`GET /${prefix}/encrypt/status`, { authorization })).toMatchObject({
        status: 200,
        body: { stage: "start", enable: true, activekey: "AES-CBC aescbckey" },
      })
})

test("the keys are listed with what is stored under each", async () => {
  const { status, body } = await ask("GET /v1-keyturn/encrypt/keys")
  expect({ status, body }).toEqual({
    status: 200,
    body: [
      {
        name: "aescbckey",
        provider: "aescbc",
        state: "writing",
        created: expect.stringMatching(/^20.*Z$/),
        ageseconds: expect.any(Number),
        storedvalues: 0,
      },
    ],
  })
})

test("the password opens nothing else", async () => {
  expect((await ask("GET /api/v1/secrets")).status).toBe(403)
})

// biome-ignore format: a table
test.each([
  ["POST /v1-keyturn/encrypt/config",  {},                           405, "method not allowed"],
  ["PUT /v1-keyturn/encrypt/config",   { stage: "turn" },            400, 'unknown stage "turn", expected one of prepare, rotate, rotate_keys, reencrypt_active'],
  ["PUT /v1-keyturn/token",            { newToken: 5 },              400, "newToken must be a string"],
  ["POST /v1-keyturn/recovery-key/revoke", {},                        400, "id must be a string"],
  ["POST /v1-keyturn/recovery-key/revoke", { id: "none" },            404, 'no recovery key has the id "none"'],
  ["PUT /v1-k3s/encrypt/config",       { stage: "reencrypt_active" }, 409, "incorrect stage: reencrypt follows rotate"],
] as const)("%s %j is refused with %d", async (line, body, status, message) => {
  const refused = await ask(line, { body })
  expect(refused.status).toBe(status)
  expect(refused.body.message).toContain(message)
})

test("a refusal names its code and what to do", async () => {
  const { body } = await ask("PUT /v1-keyturn/encrypt/config", { body: { stage: "rotate" } })
  expect(body.details.causes).toEqual([
    { reason: "WrongStage", message: "run: keyturn secrets-encrypt status" },
  ])
})

test("asking for nothing is done at once", async () => {
  expect(await ask("PUT /v1-k3s/encrypt/config", { body: {} })).toEqual({ status: 200, body: "" })
})

test("a verb that rewrites is answered with its operation", async () => {
  const { body } = await ask("PUT /v1-keyturn/encrypt/config", { body: { stage: "rotate_keys" } })
  expect(await ask("GET /v1-keyturn/encrypt/operation")).toMatchObject({
    body: { id: body.operation, kind: "rotate-keys", state: "running" },
  })
})

test("K3s' route waits for its rotation, and tells of one that was aborted or that kept a key", async () => {
  await ask("PUT /v1-keyturn/encrypt/config", { body: { stage: "abort" } })
  const rotate = async (meanwhile: () => Promise<unknown>) => {
    await sleep(1_000 - (Date.now() % 1_000)) // else it waits itself, for keys are named by the second
    const answer = ask("PUT /v1-k3s/encrypt/config", { body: { stage: "rotate_keys" } })
    await vi.waitUntil(async () => (await served.keys.operation())?.state === "running")
    await meanwhile()
    const { status, body } = await answer
    return { status, code: body === "" ? "" : body.details.causes[0].reason }
  }
  const { store, keys } = served
  const run = () =>
    runOperation({
      store,
      keys,
      server: "server-1",
      now: () => new Date(),
      monotonicMs: () => performance.now(),
      signal: new AbortController().signal,
    })
  const abort = () => ask("PUT /v1-keyturn/encrypt/config", { body: { stage: "abort" } })
  expect(await rotate(abort)).toEqual({ status: 409, code: "RotationAborted" })
  expect(await rotate(run)).toEqual({ status: 200, code: "" })
  const config = "PUT /v1-keyturn/encrypt/config"
  const runBeforeAnother = async () => {
    await run()
    await ask(config, { body: { enable: false } })
  }
  expect(await rotate(runBeforeAnother)).toEqual({ status: 200, code: "" })
  await ask(config, { body: { enable: true } })
  await run()
  const key = "/registry/secrets/default/damaged"
  const value = Buffer.from("k8s:enc:aescbc:v1:lost:0123456789abcdef0123456789abcdef")
  await store.create({ key, value, fence: undefined })
  expect(await rotate(run)).toEqual({ status: 409, code: "KeyStillNeeded" })
})

test.each([
  ["HTTP/1.1", http1],
  ["HTTP/2", http2],
])("a reading ends with its client, by %s, and the next one is made", async (_, connected) => {
  const began = Promise.withResolvers<void>()
  await using served = await serveInProcess((store) => endless(store, began.resolve))
  const headers = { authorization: SERVER }
  const leaves = connected(served)
  leaves
    .send({ method: "GET", url: "/v1-keyturn/encrypt/verify?open=true", headers })
    .catch(() => {})
  await began.promise
  leaves[Symbol.dispose]()
  using stays = http1(served)
  // One is made after another.
  const listed = await stays.send({ method: "GET", url: "/v1-keyturn/encrypt/keys", headers })
  expect(listed.status).toBe(200)
  expect(served.errors).toEqual([])
})

test("a server that ends says so to whoever waits for a reading", async () => {
  const began = Promise.withResolvers<void>()
  const ending = await serveInProcess((store) => endless(store, began.resolve))
  using client = http1(ending)
  const url = "/v1-keyturn/encrypt/verify?open=true"
  const reading = client.send({ method: "GET", url, headers: { authorization: SERVER } })
  await began.promise
  const closed = ending.close()
  expect(JSON.parse((await reading).body.toString())).toMatchObject({
    code: 503,
    message: "the server is ending",
  })
  await closed
})
