import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, beforeAll, expect, test } from "vitest"
import { decodeObject } from "../../src/format/codec.ts"
import type { WatchOptions } from "../../src/store/store.ts"
import { type Admin, administrator, type Answered } from "../harness/admin.ts"
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

interface Event {
  readonly type: string
  readonly object: {
    readonly kind: string
    readonly code?: number
    readonly metadata: { readonly name?: string; readonly resourceVersion?: string }
  }
}

/** `ADDED a`, … */
const told = ({ body }: Answered): string[] =>
  Array.isArray(body)
    ? body.map(({ type, object }: Event) => `${type} ${object.metadata.name}`)
    : []

const create = (name: string, labels = {}) =>
  admin.ask(`POST ${SECRETS}`, { metadata: { name, labels } })
const label = (name: string, value: string | null) =>
  admin.ask(`PATCH ${SECRETS}/${name}`, { metadata: { labels: { app: value } } }, MERGE)
const revision = () => served.registry.revision()

/** A watch that ends after some seconds, and what happens while it runs. */
async function watching(
  url: string,
  meanwhile: () => Promise<unknown>,
  seconds = 1,
): Promise<Answered> {
  const events = admin.ask(`GET ${url}${url.includes("?") ? "&" : "?"}timeoutSeconds=${seconds}`)
  await sleep(200)
  await meanwhile()
  return events
}

test("an object that enters a selection is added, one that leaves it is deleted", async () => {
  const from = `${SECRETS}?watch=1&resourceVersion=${await revision()}`
  const events = await watching(
    `${from}&labelSelector=app=web`,
    async () => {
      await create("s1")
      await label("s1", "web")
      await admin.ask(`PATCH ${SECRETS}/s1`, { data: { a: "YQ==" } }, MERGE)
      await label("s1", null)
      await label("s1", "web")
      await admin.ask(`DELETE ${SECRETS}/s1`)
    },
    5,
  )
  expect(told(events)).toEqual(["ADDED s1", "MODIFIED s1", "DELETED s1", "ADDED s1", "DELETED s1"])
})

test("what leaves a selection is shown as it was, at the revision of the change", async () => {
  await create("s2", { app: "web" })
  const from = `${SECRETS}?watch=1&resourceVersion=${await revision()}&labelSelector=app=web`
  const { body } = await watching(from, () => label("s2", "db"))
  expect(body).toMatchObject([
    {
      type: "DELETED",
      object: { metadata: { labels: { app: "web" }, resourceVersion: String(await revision()) } },
    },
  ])
})

test("one object is watched by the old path of its name", async () => {
  await create("one")
  const old = `/api/v1/watch/namespaces/default/secrets/one?resourceVersion=${await revision()}`
  const events = await watching(old, async () => {
    await create("two")
    await admin.ask(`DELETE ${SECRETS}/one`)
  })
  expect(told(events)).toEqual(["DELETED one"])
})

test("more objects than a page are all told first, and once", async () => {
  const names = Array.from({ length: 620 }, (_, n) => `many-${String(n).padStart(4, "0")}`)
  for (let at = 0; at < names.length; at += 50)
    await Promise.all(names.slice(at, at + 50).map((name) => create(name, { many: "1" })))
  const url = `${SECRETS}?watch=1&labelSelector=many&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`
  const events = await watching(`${url}&allowWatchBookmarks=true`, () =>
    create("many-last", { many: "1" }),
  )
  expect(told(events)).toEqual([
    ...names.map((name) => `ADDED ${name}`),
    "BOOKMARK undefined",
    "ADDED many-last",
  ])
})

test("a watch from a compacted revision ends with one event that says so", async () => {
  const old = await revision()
  await create("later")
  await served.store.compact(await revision())
  const { status, body } = await admin.ask(`GET ${SECRETS}?watch=1&resourceVersion=${old - 1}`)
  expect(status).toBe(200)
  expect(body).toMatchObject([
    {
      type: "ERROR",
      object: {
        reason: "Expired",
        code: 410,
        message: `too old resource version: ${old - 1} (${await revision()})`,
      },
    },
  ])
})

test("events in protobuf come after their length", async () => {
  const url = `${SECRETS}?watch=1&timeoutSeconds=1&resourceVersion=${await revision()}`
  const accept = "application/vnd.kubernetes.protobuf;stream=watch,application/json"
  const answer = admin.http.send({ method: "GET", url, headers: { accept } })
  await sleep(200)
  await create("proto")
  const { body, headers } = await answer
  expect(headers["content-type"]).toBe("application/vnd.kubernetes.protobuf;stream=watch")
  expect(body.readUInt32BE()).toBe(body.length - 4)
  const start = body.indexOf("k8s\0")
  expect(decodeObject(body.subarray(start)).metadata.name).toBe("proto")
})

test("a watch ends with its server, properly", async () => {
  const other = await serveInProcess()
  const someone = administrator(other)
  const events = someone.ask(`GET ${SECRETS}?watch=1&allowWatchBookmarks=1`)
  await sleep(200)
  const started = performance.now()
  await other.close()
  expect((await events).status).toBe(200)
  expect(performance.now() - started).toBeLessThan(2_000)
  someone[Symbol.dispose]()
})

test("a watch from a revision that was never given is told to list again", async () => {
  const future = (await revision()) + 1
  const { status, body } = await admin.ask(`GET ${SECRETS}?watch=1&resourceVersion=${future}`)
  expect(status).toBe(410)
  expect(body).toMatchObject({ reason: "Expired", message: expect.stringContaining("too large") })
})

test("a watch that fails in the server is told so, and so is the log", async () => {
  await create("fails")
  const logged = served.errors.length
  const { body } = await watching(
    `${SECRETS}?watch=1&resourceVersion=${await revision()}`,
    async () => {
      const key = "/registry/secrets/default/fails"
      const entry = await served.store.get(key)
      const value = Buffer.from("k8s:enc:aescbc:v1:lost:0123456789abcdef")
      await served.store.update({ key, value, expected: entry?.revision ?? 0, fence: undefined })
    },
  )
  expect(body).toMatchObject([{ type: "ERROR", object: { kind: "Status", code: 500 } }])
  expect(served.errors.slice(logged)).toMatchObject([{ err: { code: "KeyDidNotOpen" } }])
})

test("who leaves while the datastore is waited for leaves no watch behind", async () => {
  const asked = Promise.withResolvers<void>()
  const answers = Promise.withResolvers<void>()
  const watches: AbortSignal[] = []
  let isSlow = false
  await using other = await serveInProcess(
    (store) =>
      new Proxy(store, {
        get(target, name) {
          if (name === "revision" && isSlow)
            return async () => {
              asked.resolve()
              await answers.promise
              return target.revision()
            }
          if (name === "watch")
            return (options: WatchOptions) => {
              if (options.prefix.startsWith("/registry/secrets/")) watches.push(options.signal)
              return target.watch(options)
            }
          const value: unknown = Reflect.get(target, name)
          return typeof value === "function" ? value.bind(target) : value
        },
      }),
  )
  const from = await other.registry.revision()
  isSlow = true
  const leaving = administrator(other)
  const events = leaving.ask(`GET ${SECRETS}?watch=1&resourceVersion=${from}`)
  await asked.promise
  leaving[Symbol.dispose]()
  await expect(events).rejects.toThrow()
  await sleep(200)
  isSlow = false
  answers.resolve()
  await sleep(200)
  expect(watches.filter(({ aborted }) => !aborted)).toEqual([])
})
