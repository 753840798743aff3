/** The official JavaScript client against the API: objects made, read, changed and deleted, and an informer that lists, watches,
 *  comes back, and starts over where history is gone. */

import {
  type CoreV1Api,
  CoreV1Api as CoreV1,
  KubeConfig,
  makeInformer,
  type V1Secret,
} from "@kubernetes/client-node"
import { afterAll, beforeAll, expect, test } from "vitest"
import { until } from "../harness/process.ts"
import { type Served, serveInProcess } from "../harness/served.ts"

let served: Served
let config: KubeConfig
let api: CoreV1Api

beforeAll(async () => {
  served = await serveInProcess()
  config = new KubeConfig()
  const data = (pem: string) => Buffer.from(pem).toString("base64")
  config.loadFromClusterAndUser(
    {
      name: "keyturn",
      server: `https://127.0.0.1:${served.port}`,
      caData: data(served.ca),
      skipTLSVerify: false,
    },
    { name: "admin", certData: data(served.admin.cert), keyData: data(served.admin.key) },
  )
  api = config.makeApiClient(CoreV1)
})
afterAll(() => served.close())

const namespace = "default"
const make = (name: string, labels = {}) =>
  api.createNamespacedSecret({
    namespace,
    body: { metadata: { name, labels }, stringData: { a: "b" } },
  })

test("a Secret is made, read, replaced, listed and deleted", async () => {
  const made = await make("client", { from: "client" })
  expect(made.data).toEqual({ a: "Yg==" })
  const read = await api.readNamespacedSecret({ namespace, name: "client" })
  expect(read).toEqual(made)
  const body: V1Secret = { ...read, data: { a: "Yw==" } }
  const replaced = await api.replaceNamespacedSecret({ namespace, name: "client", body })
  expect(replaced.data).toEqual({ a: "Yw==" })
  const stale = api.replaceNamespacedSecret({ namespace, name: "client", body })
  await expect(stale).rejects.toMatchObject({ code: 409 })
  const { items } = await api.listNamespacedSecret({ namespace, labelSelector: "from=client" })
  expect(items.map(({ metadata }) => metadata?.name)).toEqual(["client"])
  await api.deleteNamespacedSecret({ namespace, name: "client" })
  await expect(api.readNamespacedSecret({ namespace, name: "client" })).rejects.toMatchObject({
    code: 404,
  })
})

test("an informer sees every change, also those that it slept through while history went", async () => {
  const told: string[] = []
  let lists = 0
  const list = () => {
    lists++
    return api.listNamespacedSecret({ namespace, labelSelector: "seen" })
  }
  await make("first", { seen: "1" })
  const path = `/api/v1/namespaces/${namespace}/secrets`
  const informer = makeInformer<V1Secret>(config, path, list, "seen")
  for (const event of ["add", "update", "delete"] as const)
    informer.on(event, ({ metadata }) => void told.push(`${event} ${metadata?.name}`))
  // Whoever uses an informer starts it again where it fails. A watch that is stopped ends with an error too.
  let isAsleep = false
  let ends = 0
  informer.on("error", () => {
    ends++
    if (!isAsleep) setTimeout(() => void informer.start(), 50)
  })
  await informer.start()
  await until(() => told.includes("add first"))

  await make("second", { seen: "1" })
  await until(() => told.includes("add second"))

  // History is gone when it comes back: it must list again to learn of what it missed.
  isAsleep = true
  await informer.stop()
  await until(() => ends > 0)
  await make("third", { seen: "1" })
  await api.deleteNamespacedSecret({ namespace, name: "first" })
  await served.store.compact(await served.store.revision())
  const before = lists
  isAsleep = false
  await informer.start()
  await until(() => told.includes("add third") && told.includes("delete first"))
  expect(lists).toBeGreaterThan(before)

  await api.deleteNamespacedSecret({ namespace, name: "second" })
  await until(() => told.includes("delete second"))
  expect(informer.list().map(({ metadata }) => metadata?.name)).toEqual(["third"])
  isAsleep = true
  await informer.stop()
})
