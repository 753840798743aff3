/** etcd away, cut off, or standing still. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Http2Stream } from "node:http2"
import { describe, expect, test, vi } from "vitest"
import { EtcdChannel } from "../../src/store/etcd-channel.ts"
import type { Store } from "../../src/store/store.ts"
import {
  allRows,
  bytes,
  create,
  createMany,
  createOnce,
  failure,
  key,
  live,
  ROOT,
  setFence,
  update,
  watched,
} from "../contract/store-helpers.ts"
import { Way } from "../harness/cut.ts"
import { EtcdStores } from "../harness/etcd-stores.ts"
import { until } from "../harness/process.ts"

const etcd = new EtcdStores()
const through = (way: Way): Promise<Store> => etcd.open({ ports: [way.port] })

describe("the way to the server is cut", () => {
  test("a write that was done is found, one that did not arrive is unknown; none is repeated", async () => {
    await using way = await Way.to(etcd.server.port)
    const direct = await etcd.open()
    const store = await through(way)
    const revision = await create(direct, "a", "one")

    void way.hold("answers")
    const found = update(store, "a", { expected: revision, text: "two" })
    await expect.poll(() => live(direct)).toMatchObject({ a: "two" })
    way.release()
    const second = (await direct.get(key("a")))?.revision
    expect(await found).toBe(second)

    await store.count(ROOT)
    const isLost = way.hold("requests")
    const lost = failure(update(store, "a", { expected: await found, text: "three" }))
    await isLost
    way.release()
    expect(await lost).toBe("OutcomeUnknown")
    await sleep(200)
    expect(await live(direct)).toEqual({ a: "two" })
  })

  test("a write that was done is found though others came after it", async () => {
    await using way = await Way.to(etcd.server.port)
    const direct = await etcd.open()
    const store = await through(way)
    void way.hold("answers")
    const creating = create(store, "a", "mine")
    const { revision: expected } = await until(() => direct.get(key("a")))
    const write = { key: key("a"), expected, fence: undefined }
    await direct.delete(write)
    await create(direct, "a", "theirs")
    way.release()
    expect(await creating).toBe(expected)
  })

  test("another's bytes in the place of a lost update are a conflict; a lost create may come once they are gone", async () => {
    await using way = await Way.to(etcd.server.port)
    const direct = await etcd.open()
    const store = await through(way)
    const expected = await create(direct, "a", "one")
    void way.hold("requests")
    const write = { key: key("a"), value: bytes("mine"), expected, fence: undefined }
    const lost = store.update(write)
    const created = failure(store.create({ ...write, key: key("new") }))
    const theirs = await update(direct, "a", { expected, text: "theirs" })
    await create(direct, "new", "theirs")
    way.release()
    expect(await lost).toMatchObject({ outcome: "conflict", current: { revision: theirs } })
    expect(await created).toBe("OutcomeUnknown")
  })

  test("a lost write that cannot be told from one rewritten since is unknown, not a conflict", async () => {
    await using way = await Way.to(etcd.server.port)
    const direct = await etcd.open()
    const store = await through(way)
    await setFence(direct, "f1")
    await store.count(ROOT)
    void way.hold("answers")
    const lost = failure(store.create({ key: key("a"), value: bytes("mine"), fence: "f1" }))
    await expect.poll(() => live(direct)).toEqual({ a: "mine" })
    await setFence(direct, "f2")
    const revision = (await direct.get(key("a")))?.revision ?? 0
    const [expected, replacement] = [bytes("mine"), bytes("mine, rewritten")]
    const value = { key: key("a"), revision, column: "value" as const, expected, replacement }
    await direct.rewrite("f2", [value])
    await direct.scrub() // what it was is forgotten
    way.release()
    expect(await lost).toBe("OutcomeUnknown")
  })

  test("a change of the records whose answer was lost is recognised", async () => {
    await using way = await Way.to(etcd.server.port)
    const direct = await etcd.open()
    const store = await through(way)
    await setFence(store, "f1")
    void way.hold("answers")
    const put = [{ name: "keyring" as const, value: bytes("k") }]
    const step = { compare: [{ name: "keyring" as const, version: null }], put }
    const changing = store.step(step)
    await expect.poll(() => direct.record("keyring")).toBeDefined()
    way.release()
    const changed = await changing
    expect(changed).toMatchObject({ outcome: "done" })

    await store.count(ROOT)
    const isLost = way.hold("requests")
    const version = (await direct.record("keyring"))?.version ?? null
    const lost = failure(store.step({ compare: [{ name: "keyring", version }], put }))
    await isLost
    way.release()
    expect(await lost).toBe("OutcomeUnknown")
  })

  test("reads and writes fail plainly while it lasts; a watch goes on where it was", async () => {
    await using way = await Way.to(etcd.server.port)
    const direct = await etcd.open()
    const store = await through(way)
    const after = await store.revision()
    const watching = watched(store, { after, count: 3 })
    const made = [await create(store, "a", "x")]
    await sleep(50)
    way.cut()
    expect(await failure(store.list({ prefix: ROOT }))).toBe("StoreUnavailable")
    expect(["StoreUnavailable", "OutcomeUnknown"]).toContain(await failure(create(store, "b", "x")))
    made.push(await create(direct, "c", "x"))
    way.mend()
    made.push(await until(() => createOnce(store, "d")))
    expect((await watching).map(({ revision }) => revision)).toEqual(made)
  })

  test("a watch in the middle of history waits until that can be read again", async () => {
    await using way = await Way.to(etcd.server.port)
    const direct = await etcd.open()
    const after = await direct.revision()
    const names = Array.from({ length: 2_500 }, (_, index) => `n${index}`)
    const made = await createMany(direct, names)
    const store = await through(way)
    const watch = store.watch({ prefix: ROOT, after, signal: AbortSignal.timeout(20_000) })
    const told: number[] = []
    for await (const batch of watch) {
      if (told.length === 0) way.cut()
      setTimeout(() => way.mend(), 500)
      told.push(...batch.map(({ revision }) => revision))
      if (told.length === made.length) break
    }
    expect(told).toEqual(made.toSorted((a, b) => a - b))
  })

  test("rows are asked for again in halves, until so many come in one answer", async () => {
    await using way = await Way.to(etcd.server.port)
    const direct = await etcd.open()
    const names = Array.from({ length: 20 }, (_, index) => `n${String(index).padStart(2, "0")}`)
    for (const name of names) await create(direct, name, "x".repeat(1_000_000))
    const store = await through(way)
    way.endAfter(4_000_000)
    const rows = await allRows(store, 500)
    expect(rows.map((row) => row.key)).toEqual(names.map(key))
  })

  test("what was compacted while nothing could be followed ends the watches that stood before it", async () => {
    await using way = await Way.to(etcd.server.port)
    const direct = await etcd.open()
    const store = await through(way)
    const after = await store.revision()
    const watching = failure(watched(store, { after, count: 9 }))
    await sleep(100)
    way.cut()
    const one = await create(direct, "a", "one")
    await update(direct, "a", { expected: one, text: "two" })
    await create(direct, "b", "x")
    await direct.compact(await direct.revision())
    way.mend()
    expect(await watching).toBe("SlowWatcher")
    const now = await until(() => store.revision().catch(() => undefined))
    const next = watched(store, { after: now, count: 1 })
    const last = await create(direct, "c", "x")
    expect((await next).map(({ revision }) => revision)).toEqual([last])
  })

  test("with one member away the next one is asked", async () => {
    await using way = await Way.to(etcd.server.port)
    const store = await etcd.open({ ports: [way.port, etcd.server.port] })
    const after = await store.revision()
    const watching = watched(store, { after, count: 2 })
    const made = [await create(store, "a", "x")]
    await sleep(50)
    way.cut()
    expect(await live(store)).toEqual({ a: "x" })
    made.push(await create(store, "b", "x"))
    expect((await watching).map(({ revision }) => revision)).toEqual(made)
  })
})

test.each(["SIGTERM", "SIGKILL"] as const)(
  "the server ends by %s and starts anew: what it acknowledged is there, the watch goes on",
  async (signal) => {
    const store = await etcd.open()
    const after = await store.revision()
    const watching = watched(store, { after, count: 2 })
    const made = [await create(store, "a", "x")]
    await etcd.server.stop(signal)
    expect(await failure(store.get(key("a")))).toBe("StoreUnavailable")
    await etcd.server.start()
    made.push(await until(() => createOnce(store, "b")))
    expect((await watching).map(({ revision }) => revision)).toEqual(made)
    expect(await live(store)).toEqual({ a: "x", b: "x" })
  },
)

test("after a restore from a backup watches begin anew, at its revision", async () => {
  const store = await etcd.open()
  for (const name of ["a", "b", "c"]) await create(store, name, "x")
  const after = await store.revision()
  const watching = failure(watched(store, { after, count: 1 }))
  const isTold = watchRecordsOnce(store)
  await sleep(50)
  await etcd.server.startAnew()
  expect(await watching).toBe("SlowWatcher")
  await isTold
  const { revision } = await store.list({ prefix: ROOT })
  expect(revision).toBeLessThan(after)
  const next = watched(store, { after: revision, count: 1 })
  const made = await create(store, "d", "x")
  expect((await next).map((change) => change.revision)).toEqual([made])
})

test("a lease that is gone is taken anew", async () => {
  const store = await etcd.open()
  const write = { key: key("a"), value: bytes("x"), fence: undefined, ttlSeconds: 1_200 }
  expect((await store.create(write)).outcome).toBe("done")
  await etcd.server.startAnew()
  await until(() => store.revision().catch(() => undefined))
  expect((await store.create({ ...write, key: key("b") })).outcome).toBe("done")
})

async function watchRecordsOnce(store: Store): Promise<void> {
  const wakes = store.watchRecords(AbortSignal.timeout(10_000))[Symbol.asyncIterator]()
  expect((await wakes.next()).done).toBe(false)
}

describe("an engine that stands still", () => {
  test("is told of in time: a read is refused, a write unknown; the watch goes on", async () => {
    const store = await etcd.open()
    const after = await store.revision()
    const stop = new AbortController()
    const told: number[] = []
    const telling = (async () => {
      for await (const batch of store.watch({ prefix: ROOT, after, signal: stop.signal }))
        told.push(...batch.map(({ revision }) => revision))
    })()
    etcd.server.signal("SIGSTOP")
    const start = performance.now()
    const outcomes = Promise.all([
      failure(store.list({ prefix: ROOT })),
      failure(create(store, "a", "x")),
    ])
    try {
      const seen = await Promise.race([outcomes, sleep(25_000)])
      expect(seen).toEqual(["StoreUnavailable", "OutcomeUnknown"])
      expect(performance.now() - start).toBeLessThan(20_000)
    } finally {
      etcd.server.signal("SIGCONT")
    }
    const again = () => createOnce(store, "b")
    const revision = await until(again, { timeoutMs: 15_000 })
    expect((await store.list({ prefix: ROOT })).revision).toBeGreaterThanOrEqual(revision)
    await expect.poll(() => told, { timeout: 8_000 }).toContain(revision)
    stop.abort()
    await telling
  })

  test("does not keep its store from closing", async () => {
    const store = await etcd.open()
    etcd.server.signal("SIGSTOP")
    const start = performance.now()
    try {
      await Promise.race([store.close(), sleep(8_000)])
      expect(performance.now() - start).toBeLessThan(4_000)
    } finally {
      etcd.server.signal("SIGCONT")
    }
  })

  test("does not keep its store from closing that looks for it anew", async () => {
    await using way = await Way.to(etcd.server.port)
    const store = await through(way)
    void way.hold("answers")
    way.drop()
    await sleep(300) // the watch has ended, and is on its way to begin again
    const start = performance.now()
    await Promise.race([store.close(), sleep(8_000)])
    expect(performance.now() - start).toBeLessThan(1_000)
  })

  /** As one whose disk stands still. */
  test("and pongs is left for the next member too", async () => {
    const { createServer } = await import("node:http2")
    const still = createServer(() => {})
    await new Promise<void>((resolve) => still.listen(0, "127.0.0.1", resolve))
    const address = still.address()
    if (address === null || typeof address === "string") throw new Error("no port")
    try {
      const store = await etcd.open({ ports: [address.port, etcd.server.port] })
      expect(await failure(store.get(key("a")))).toBe("no failure")
    } finally {
      still.close()
    }
  })

  test("and pongs keeps what else goes on over the connection, where there is no other member", async () => {
    const { createServer } = await import("node:http2")
    const streams: Http2Stream[] = []
    let connections = 0
    const still = createServer()
      .on("session", () => (connections += 1))
      .on("stream", (stream) => streams.push(stream.on("error", () => {})))
    await new Promise<void>((resolve) => still.listen(0, "127.0.0.1", resolve))
    const address = still.address()
    if (address === null || typeof address === "string") throw new Error("no port")
    const channel = new EtcdChannel({ endpoints: [`http://127.0.0.1:${address.port}`] })
    const { signal } = new AbortController()
    try {
      const watch = channel.stream("/Watch", Buffer.alloc(0), { signal }).next()
      watch.catch(() => {})
      await vi.waitUntil(() => streams.length === 1)
      const call = channel.call("/Range", Buffer.alloc(0), { timeoutMs: 200 })
      expect(await failure(call)).toBe("StoreUnavailable")
      const next = channel.call("/Range", Buffer.alloc(0), { timeoutMs: 200 })
      expect(await failure(next)).toBe("StoreUnavailable")
      expect({ streams: streams.length, connections }).toEqual({ streams: 3, connections: 1 })
    } finally {
      channel.close()
      still.close()
    }
  })

  test("is left for the next member, of which there is one", async () => {
    await using way = await Way.to(etcd.server.port)
    const store = await etcd.open({ ports: [way.port, etcd.server.port] })
    void way.hold("answers")
    expect(await failure(store.get(key("a")))).toBe("no failure")
  })
})

test("a server that is no etcd is told of plainly", async () => {
  const { createServer } = await import("node:http2")
  const server = createServer((_, response) => response.end("hello"))
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const address = server.address()
  if (address === null || typeof address === "string") throw new Error("no port")
  try {
    await expect(etcd.open({ ports: [address.port] })).rejects.toMatchObject({
      code: "StoreUnavailable",
      message: expect.stringContaining("is an etcd at that address?"),
    })
  } finally {
    server.close()
  }
})
