import { afterAll, beforeAll, expect, test } from "vitest"
import { type Admin, administrator } from "../harness/admin.ts"
import { http1, http2 } from "../harness/https.ts"
import { type Served, serveInProcess } from "../harness/served.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const MERGE = "application/merge-patch+json"

let served: Served
let admin: Admin

beforeAll(async () => {
  served = await serveInProcess()
  admin = administrator(served)
})
afterAll(async () => {
  admin[Symbol.dispose]()
  await served.close()
})

const create = (name: string, more = {}) =>
  admin.ask(`POST ${SECRETS}`, { metadata: { name, ...more }, data: { a: "YQ==" } })

test("patches and replacements that name no revision all count, however many come at once", async () => {
  await create("busy")
  const patches = Array.from({ length: 8 }, (_, n) =>
    admin.ask(`PATCH ${SECRETS}/busy`, { data: { [`k${n}`]: "YQ==" } }, MERGE),
  )
  const codes = (await Promise.all(patches)).map(({ status }) => status)
  expect(codes).toEqual(Array.from({ length: 8 }, () => 200))
  const { body } = await admin.ask(`GET ${SECRETS}/busy`)
  expect(Object.keys((body as { data: object }).data)).toHaveLength(9)
})

test("of updates that name one revision only one counts", async () => {
  const { body } = await create("once")
  const updates = ["Yg==", "Yw==", "ZA=="].map((a) =>
    admin.ask(`PUT ${SECRETS}/once`, { ...(body as object), data: { a } }),
  )
  const codes = (await Promise.all(updates)).map(({ status }) => status)
  expect(codes.toSorted((a, b) => a - b)).toEqual([200, 409, 409])
})

test.each([http1, http2])("a warning names a field whatever its name holds", async (version) => {
  using client = version(served, served.admin)
  const named = { apiVersion: "v1", kind: "Secret", metadata: { generateName: "w-" } }
  const body = JSON.stringify({ ...named, 'a\nb\u0085"\\é日😀': 1 })
  const headers = { "content-type": "application/json" }
  const answer = await client.send({ method: "POST", url: SECRETS, headers, body })
  expect(answer.status).toBe(201)
  const warning = Buffer.from(String(answer.headers["warning"]), "latin1").toString()
  expect(warning).toBe(String.raw`299 - "unknown field \"a\\nb\\u0085\\\"\\\\é日😀\""`)
})

test("a dry run answers as the write would, and writes nothing", async () => {
  await create("dry", { finalizers: ["example.com/f"] })
  const before = await served.registry.revision()
  const patch = { data: { b: "Yg==" } }
  const secret = { metadata: { name: "dry" }, data: { c: "Yw==" } }
  // biome-ignore format: a table
  const answers = [
    [await admin.ask(`POST ${SECRETS}?dryRun=All`, { metadata: { name: "dry2" } }), 201],
    [await admin.ask(`POST ${SECRETS}?dryRun=All`, secret),                         409],
    [await admin.ask(`PATCH ${SECRETS}/dry?dryRun=All`, patch, MERGE),              200],
    [await admin.ask(`PUT ${SECRETS}/dry?dryRun=All`, secret),                      200],
    [await admin.ask(`DELETE ${SECRETS}/dry?dryRun=All`),                           200],
    [await admin.ask(`DELETE ${SECRETS}?dryRun=All`),                               200],
  ] as const
  for (const [{ status }, expected] of answers) expect(status).toBe(expected)
  expect(answers[2][0].body).toMatchObject({ data: { a: "YQ==", b: "Yg==" } })
  expect(answers[4][0].body).toMatchObject({ metadata: { deletionGracePeriodSeconds: 0 } })
  expect(await served.registry.revision()).toBe(before)
})

test("a name is made from generateName, never one that is taken", async () => {
  const made = await Promise.all(
    Array.from({ length: 20 }, () =>
      admin.ask(`POST ${SECRETS}`, { metadata: { generateName: "gen-" } }),
    ),
  )
  const names = made.map(({ body }) => (body as { metadata: { name: string } }).metadata.name)
  for (const name of names) expect(name).toMatch(/^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/)
  expect(new Set(names)).toHaveProperty("size", 20)
})

test("a deleted object stays while a finalizer does, and a second delete changes nothing", async () => {
  await create("held", { finalizers: ["example.com/f"] })
  const first = await admin.ask(`DELETE ${SECRETS}/held?propagationPolicy=Foreground`)
  expect(first.body).toMatchObject({ metadata: { finalizers: ["example.com/f"] } })
  const second = await admin.ask(`DELETE ${SECRETS}/held`)
  expect(second.body).toEqual(first.body)
  await admin.ask(`PATCH ${SECRETS}/held`, { metadata: { finalizers: null } }, MERGE)
  expect((await admin.ask(`GET ${SECRETS}/held`)).status).toBe(404)
})

test("with foreground or orphan an object is gone at once, and the answer shows what was asked", async () => {
  for (const [policy, finalizer] of [
    ["Foreground", "foregroundDeletion"],
    ["Orphan", "orphan"],
  ]) {
    await create("collected")
    const { body } = await admin.ask(`DELETE ${SECRETS}/collected?propagationPolicy=${policy}`)
    expect(body).toMatchObject({
      metadata: { finalizers: [finalizer], deletionGracePeriodSeconds: 0 },
    })
    expect((await admin.ask(`GET ${SECRETS}/collected`)).status).toBe(404)
  }
})

test("only what cannot be read may be deleted unread", async () => {
  await create("readable")
  const unread = { ignoreStoreReadErrorWithClusterBreakingPotential: true }
  const { status, body } = await admin.ask(`DELETE ${SECRETS}/readable`, unread)
  expect(status).toBe(422)
  expect((body as { message: string }).message).toContain(
    "is exclusively used to delete corrupt object(s)",
  )
  expect((await admin.ask(`GET ${SECRETS}/readable`)).status).toBe(200)
})

test("status and spec of a Node are written on their own paths", async () => {
  const node = { metadata: { name: "n1" }, spec: { providerID: "p" }, status: { phase: "Running" } }
  await admin.ask("POST /api/v1/nodes", node)
  const both = { spec: { unschedulable: true }, status: { phase: "Pending" } }
  const main = await admin.ask("PATCH /api/v1/nodes/n1", both, MERGE)
  expect(main.body).toMatchObject({ spec: { unschedulable: true }, status: { phase: "Running" } })
  const status = await admin.ask(
    "PATCH /api/v1/nodes/n1/status",
    { ...both, spec: { unschedulable: false } },
    MERGE,
  )
  expect(status.body).toMatchObject({ spec: { unschedulable: true }, status: { phase: "Pending" } })
})

test("a body above 3 MiB is refused, whatever it says of its length", async () => {
  const body = Buffer.alloc(3 * 1024 * 1024 + 1, " ")
  const headers = { "content-type": "application/json", "transfer-encoding": "chunked" }
  const { status } = await admin.http.send({ method: "POST", url: SECRETS, headers, body })
  expect(status).toBe(413)
})

test("requests are counted by what they asked for", async () => {
  await admin.ask(`GET ${SECRETS}/none`)
  const { body } = await admin.ask("GET /metrics")
  expect(body).toMatch(
    /^apiserver_request_total\{verb="GET",group="",version="v1",resource="secrets",subresource="",scope="resource",code="404"\} \d+$/m,
  )
  expect(body).toContain('apiserver_current_inflight_requests{request_kind="mutating"} 0')
})

test("a method of no meaning is counted as OTHER, whatever its name", async () => {
  using http = http2(served, served.admin)
  for (const method of ["constructor", "__proto__"])
    expect((await http.send({ method, url: SECRETS })).status, method).toBe(405)
  const { body } = await admin.ask("GET /metrics")
  const counted = String(body).match(/^apiserver_request_total\{verb="[^"]*"/gm) ?? []
  const verbs = counted.map((line) => line.slice('apiserver_request_total{verb="'.length, -1))
  expect(verbs).toContain("OTHER")
  for (const verb of verbs) expect(verb).toMatch(/^[A-Z]+$/)
})
