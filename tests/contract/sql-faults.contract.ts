/** A database server away, cut off or standing still. */
import { inspect } from "node:util"
import { setTimeout as sleep } from "node:timers/promises"
import { describe, expect, test } from "vitest"
import { KnownError } from "../../src/errors.ts"
import type { Store } from "../../src/store/store.ts"
import {
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
} from "./store-helpers.ts"
import { Way } from "../harness/cut.ts"
import type { Login, SqlServer, SqlStores } from "../harness/sql-stores.ts"
import { until } from "../harness/process.ts"

/** Several connections that wait for a statement. */
async function connected(store: Store): Promise<void> {
  await Promise.all(Array.from({ length: 4 }, () => store.count(ROOT)))
  await sleep(50)
}

/** A connection may have ended meanwhile. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes("ESRCH")) throw error
  }
}

export function sqlFaults<A extends Login>(
  db: SqlStores<A, SqlServer<A>>,
  /** What is shown of a wrong password. */
  { refusal: shown }: { readonly refusal: RegExp },
): void {
  describe("the way to the server is cut", () => {
    test("a write that was done is found, one that did not arrive is unknown; none is repeated", async () => {
      await using way = await Way.to(db.server.port)
      const direct = await db.open()
      const store = await db.open({ port: way.port })
      const revision = await create(direct, "a", "one")
      await connected(store)

      void way.hold("answers")
      const found = update(store, "a", { expected: revision, text: "two" })
      await expect.poll(() => live(direct)).toMatchObject({ a: "two" })
      way.release()
      const second = (await direct.get(key("a")))?.revision
      expect(await found).toBe(second)

      await connected(store)
      const isLost = way.hold("requests")
      const lost = failure(update(store, "a", { expected: await found, text: "three" }))
      await isLost
      way.release()
      expect(await lost).toBe("OutcomeUnknown")
      await sleep(200)
      expect(await live(direct)).toEqual({ a: "two" })
    })

    test("another's bytes in the place of a lost update are a conflict; a lost create may come once they are gone", async () => {
      await using way = await Way.to(db.server.port)
      const direct = await db.open()
      const store = await db.open({ port: way.port })
      const expected = await create(direct, "a", "one")
      await connected(store)
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

    test("a lost write whose bytes were rewritten meanwhile is unknown, not a conflict", async () => {
      await using way = await Way.to(db.server.port)
      const direct = await db.open()
      const store = await db.open({ port: way.port })
      await setFence(direct, "f1")
      await connected(store)
      void way.hold("answers")
      const lost = failure(store.create({ key: key("a"), value: bytes("mine"), fence: "f1" }))
      await expect.poll(() => live(direct)).toEqual({ a: "mine" })
      await setFence(direct, "f2")
      const revision = (await direct.get(key("a")))?.revision ?? 0
      const [expected, replacement] = [bytes("mine"), bytes("mine, rewritten")]
      await direct.rewrite("f2", [
        { key: key("a"), revision, column: "value", expected, replacement },
      ])
      way.release()
      expect(await lost).toBe("OutcomeUnknown")
    })

    test("a change of the records whose answer was lost is recognised", async () => {
      await using way = await Way.to(db.server.port)
      const direct = await db.open()
      const store = await db.open({ port: way.port })
      await setFence(store, "f1")
      void way.hold("answers")
      const put = [{ name: "keyring" as const, value: bytes("k") }]
      const changing = store.step({ compare: [{ name: "keyring", version: null }], put })
      await expect.poll(() => direct.record("keyring")).toBeDefined()
      way.release()
      expect((await changing).outcome).toBe("done")
    })

    test("reads and writes fail plainly while it lasts; a watch goes on where it was", async () => {
      await using way = await Way.to(db.server.port)
      const direct = await db.open()
      const store = await db.open({ port: way.port })
      const after = await store.revision()
      const watching = watched(store, { after, count: 3 })
      await connected(store)
      const made = [await create(store, "a", "x")]
      await sleep(50)
      way.cut()
      expect(await failure(store.list({ prefix: ROOT }))).toBe("StoreUnavailable")
      expect(["StoreUnavailable", "OutcomeUnknown"]).toContain(
        await failure(create(store, "b", "x")),
      )
      made.push(await create(direct, "c", "x"))
      way.mend()
      made.push(await until(() => createOnce(store, "d")))
      expect((await watching).map(({ revision }) => revision)).toEqual(made)
    })

    test("a watch in the middle of history waits until that can be read again", async () => {
      await using way = await Way.to(db.server.port)
      const direct = await db.open()
      const after = await direct.revision()
      const names = Array.from({ length: 2_500 }, (_, index) => `n${index}`)
      const made = await createMany(direct, names)
      const store = await db.open({ port: way.port })
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

    test("the server starts anew: what it acknowledged is there, the watch goes on", async () => {
      const store = await db.open()
      const after = await store.revision()
      const watching = watched(store, { after, count: 2 })
      await connected(store)
      const made = [await create(store, "a", "x")]
      await db.server.crash()
      expect(await failure(store.get(key("a")))).toBe("StoreUnavailable")
      await db.server.start()
      made.push(await until(() => createOnce(store, "b")))
      expect((await watching).map(({ revision }) => revision)).toEqual(made)
      expect(await live(store)).toEqual({ a: "x", b: "x" })
    })
  })

  test("an engine that stands still is told of in time: a read is refused, a write unknown", async () => {
    const store = await db.open()
    await connected(store)
    const pids = await db.server.processes(db.database)
    for (const pid of pids) signal(pid, "SIGSTOP")
    const start = performance.now()
    const outcomes = Promise.all([
      failure(store.list({ prefix: ROOT })),
      failure(create(store, "a", "x")),
    ])
    try {
      const seen = await Promise.race([outcomes, sleep(35_000)])
      expect(seen).toEqual(["StoreUnavailable", "OutcomeUnknown"])
      expect(performance.now() - start).toBeLessThan(30_000)
    } finally {
      for (const pid of pids) signal(pid, "SIGCONT")
    }
    const again = () => createOnce(store, "b")
    const revision = await until(again, { timeoutMs: 15_000 })
    expect((await store.list({ prefix: ROOT })).revision).toBeGreaterThanOrEqual(revision)
  })

  test("a store closes while its engine stands still", async () => {
    const store = await db.open()
    await connected(store)
    const pids = await db.server.processes(db.database)
    for (const pid of pids) signal(pid, "SIGSTOP")
    const start = performance.now()
    try {
      await Promise.race([store.close(), sleep(8_000)])
      expect(performance.now() - start).toBeLessThan(4_000)
    } finally {
      for (const pid of pids) signal(pid, "SIGCONT")
    }
  })

  test("nothing that is shown of a failure holds the password", async () => {
    const password = "another-p4ssword"
    const failures = [
      await refusal(db.open({ password })),
      await refusal(db.open({ password, user: "nobody" })),
      await refusal(db.open({ password, port: 1 })),
      await refusal(db.open({ password, host: "no-such-host.invalid" })),
    ]
    const [refused, away] = ["StoreRefused", "StoreUnavailable"]
    expect(failures.map(({ code }) => code)).toEqual([refused, refused, away, away])
    for (const error of failures) {
      expect(error.message).toMatch(/^\w+ database test_\d+ at \S+:\d+: ./)
      expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(password)
    }
    expect(failures[0]?.message).toMatch(shown)
  })
}

export async function refusal(asked: Promise<unknown>): Promise<KnownError> {
  const error: unknown = await asked.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof KnownError) return error
  throw new Error(`expected a refusal, saw ${inspect(error)}`)
}
