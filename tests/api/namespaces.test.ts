import { afterAll, beforeAll, expect, test } from "vitest"
import { type Admin, administrator } from "../harness/admin.ts"
import { until } from "../harness/process.ts"
import { type Served, serveInProcess } from "../harness/served.ts"

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

const make = async (name: string) => {
  expect((await admin.ask("POST /api/v1/namespaces", { metadata: { name } })).status).toBe(201)
}
const isGone = (path: string) => async () => (await admin.ask(`GET ${path}`)).status === 404

test("a namespace takes its Secrets and Events with it", async () => {
  await make("full")
  const secrets = "/api/v1/namespaces/full/secrets"
  for (const name of ["a", "b"]) await admin.ask(`POST ${secrets}`, { metadata: { name } })
  const event = { metadata: { name: "e" }, involvedObject: { namespace: "full" } }
  expect((await admin.ask("POST /api/v1/namespaces/full/events", event)).status).toBe(201)
  const { body } = await admin.ask("DELETE /api/v1/namespaces/full")
  expect(body).toMatchObject({ kind: "Namespace", status: { phase: "Terminating" } })
  await until(isGone("/api/v1/namespaces/full"))
  expect(await served.registry.contents("full")).toEqual([])
})

test("what is not served here holds its namespace, which says so and takes nothing new", async () => {
  await make("held")
  const key = "/registry/configmaps/held/config"
  await served.store.create({ key, fence: undefined, value: Buffer.from("k8s\0") })
  const custom = "/registry/example.com/widgets/held/w"
  await served.store.create({ key: custom, fence: undefined, value: Buffer.from("{}") })
  await admin.ask("DELETE /api/v1/namespaces/held")
  const message =
    "Some resources are remaining: configmaps. has 1 resource instances, widgets.example.com has 1 resource instances"
  const conditions = await until(async () => {
    const { body } = await admin.ask("GET /api/v1/namespaces/held")
    const { status } = body as { status: { conditions?: object[] } }
    return status.conditions
  })
  expect(conditions).toMatchObject([
    { type: "NamespaceContentRemaining", status: "True", reason: "SomeResourcesRemain", message },
  ])
  const refused = await admin.ask("POST /api/v1/namespaces/held/secrets", {
    metadata: { name: "x" },
  })
  expect(refused).toMatchObject({
    status: 403,
    body: { details: { causes: [{ reason: "NamespaceTerminating" }] } },
  })
  for (const row of [key, custom]) {
    const entry = await served.store.get(row)
    await served.store.delete({ key: row, fence: undefined, expected: entry?.revision ?? 0 })
  }
  await until(isGone("/api/v1/namespaces/held"))
})

test("a finalizer of what is in it, and one of its own, hold it until they are taken away", async () => {
  await make("waits")
  const merge = "application/merge-patch+json"
  const none = { metadata: { finalizers: null } }
  const finalizers = ["example.com/f"]
  const secret = "/api/v1/namespaces/waits/secrets/s"
  await admin.ask("POST /api/v1/namespaces/waits/secrets", { metadata: { name: "s", finalizers } })
  await admin.ask("PATCH /api/v1/namespaces/waits", { metadata: { finalizers } }, merge)
  await admin.ask("DELETE /api/v1/namespaces/waits")
  await until(async () => {
    const { body } = await admin.ask(`GET ${secret}`)
    return (body as { metadata: { deletionTimestamp?: string } }).metadata.deletionTimestamp
  })
  await admin.ask(`PATCH ${secret}`, none, merge)
  await until(async () => {
    const { body } = await admin.ask("GET /api/v1/namespaces/waits")
    return (body as { spec: { finalizers?: string[] } }).spec.finalizers === undefined
  })
  expect((await admin.ask("PATCH /api/v1/namespaces/waits", none, merge)).status).toBe(200)
  await until(isGone("/api/v1/namespaces/waits"))
})

test.each(["default", "kube-system", "kube-public"])("%s is there, and stays", async (name) => {
  expect((await admin.ask(`DELETE /api/v1/namespaces/${name}`)).body).toMatchObject({
    message: `namespaces "${name}" is forbidden: this namespace may not be deleted`,
    code: 403,
  })
  expect((await admin.ask(`GET /api/v1/namespaces/${name}`)).status).toBe(200)
})

test("a namespace that may not be deleted may be where it does not open, and then be made again", async () => {
  const path = "/api/v1/namespaces/default"
  const unread = `${path}?ignoreStoreReadErrorWithClusterBreakingPotential=true`
  const secret = { metadata: { generateName: "s" } }
  const create = async () => (await admin.ask(`POST ${path}/secrets`, secret)).status
  const remove = async (of: string) => (await admin.ask(`DELETE ${of}`)).status
  const key = "/registry/namespaces/default"
  expect([await create(), await remove(unread)]).toEqual([201, 422])
  for (const damaged of ["rubbish", "k8s\0\xff"]) {
    const expected = (await served.store.get(key))?.revision ?? 0
    const value = Buffer.from(damaged, "latin1")
    await served.store.update({ key, expected, value, fence: undefined })
    expect([await create(), await remove(path), await remove(unread)]).toEqual([500, 403, 200])
    await make("default")
    expect(await create()).toBe(201)
  }
  const { body } = await admin.ask(`GET ${path}/secrets`)
  expect((body as { items: object[] }).items).toHaveLength(3)
})
