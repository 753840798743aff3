/** Small bodies that would make much work, much memory or a long answer. Each is refused, or done, and the server goes on. */

import { afterAll, beforeAll, expect, test } from "vitest"
import { http1, type HttpClient } from "../harness/https.ts"
import { type Served, serveInProcess } from "../harness/served.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const YAML = "application/yaml"
const JSON_PATCH = "application/json-patch+json"

let served: Served
let http: HttpClient

beforeAll(async () => {
  served = await serveInProcess()
  http = http1(served, served.admin)
  await send("POST", SECRETS, secret({ name: "t" }))
})
afterAll(async () => {
  http[Symbol.dispose]()
  await served.close()
})

const send = (method: string, url: string, body: string, type = "application/json") =>
  http.send({ method, url, body, headers: { "content-type": type } })
const secret = (metadata: object, more: object = {}) =>
  JSON.stringify({ apiVersion: "v1", kind: "Secret", metadata, ...more })
const times = <T>(length: number, of: (n: number) => T): T[] =>
  Array.from({ length }, (_, n) => of(n))

const owner = (n: number) => ({
  apiVersion: "v1",
  kind: "K",
  name: "n",
  uid: `${n}`,
  controller: true,
})
const doubling = [
  { op: "add", path: "/x", value: { a: "YQ==" } },
  ...times(20, (n) => ({ op: "copy", from: "/x", path: `/x/x${n}` })),
]
const laughs = times(
  9,
  (n) => `k${n}: &a${n} [${n === 0 ? "x" : times(10, () => `*a${n - 1}`).join(", ")}]`,
)
const aliases = ["a: &a 1", ...times(300, (n) => `k${n}: *a`)]
const wrongKeys = Object.fromEntries(times(5_000, (n) => [`!${n}`, ""]))

// biome-ignore format: a table
test.each([
  ["3,000 controllers",     "POST",  SECRETS,        secret({ name: "b", ownerReferences: times(3_000, owner) }), "application/json", 422],
  ["5,000 wrong keys",      "POST",  SECRETS,        secret({ name: "b" }, { data: wrongKeys }),                  "application/json", 422],
  ["copies of copies",      "PATCH", `${SECRETS}/t`, JSON.stringify(doubling),                                    JSON_PATCH,         422],
  ["aliases of aliases",    "POST",  SECRETS,        laughs.join("\n"),                                           YAML,               400],
  ["many aliases",          "POST",  SECRETS,        aliases.join("\n"),                                          YAML,               400],
  ["an alias of nothing",   "POST",  SECRETS,        "a: *b",                                                     YAML,               400],
])("%s", async (_, method, url, body, type, status) => {
  const answer = await send(method, url, body, type)
  expect(answer.status).toBe(status)
  expect(answer.body.length).toBeLessThan(4 * body.length + 100_000)
})

test("warnings fit into the headers that a client takes", async () => {
  const unknown = Object.fromEntries(times(1_000, (n) => [`unknown${n}`, 0]))
  const { status, headers } = await send("POST", SECRETS, secret({ name: "w" }, unknown))
  expect(status).toBe(201)
  expect(String(headers["warning"])).toContain('unknown field \\"unknown0\\"')
})

test("20,000 managers", { timeout: 20_000 }, async () => {
  const managedFields = times(20_000, (n) => ({
    manager: `m${n}`,
    operation: "Update",
    apiVersion: "v1",
    fieldsV1: { "f:data": { [`f:${n}`]: {} } },
    fieldsType: "FieldsV1",
  }))
  expect((await send("POST", SECRETS, secret({ name: "m", managedFields }))).status).toBe(201)
})
