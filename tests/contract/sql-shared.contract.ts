/** A database server under several writers at once. */
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import type { Change } from "../../src/store/store.ts"
import {
  bytes,
  create,
  failure,
  key,
  live,
  remove,
  ROOT,
  setFence,
  update,
  watched,
} from "./store-helpers.ts"
import type { Login, SqlServer, SqlStores } from "../harness/sql-stores.ts"
import { contend } from "../store/contend.ts"
import { Program, until } from "../harness/process.ts"

const INSERT =
  "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES"

/** In the words of one engine. */
export interface Dialect {
  /** How late a change of another server may be told, at the median. */
  readonly tellsWithinMs: number
  /** Takes the lock on the fence as a step does, and as a write does. */
  readonly lock: string
  readonly lockShared: string
  /** Sets the session as a keyturn does, so that the server ends a transaction in which nothing happens. */
  readonly limit: string
}

export function sqlShared<Address extends Login>(
  db: SqlStores<Address, SqlServer<Address>>,
  dialect: Dialect,
): void {
  describe("rows that commit late", () => {
    test("a list waits for what was given an id before it, and a watch from it misses nothing", async () => {
      const store = await db.open()
      const late = await db.stranger()
      await late.query(`BEGIN; ${INSERT} ('${key("late")}', 1, 0, 0, 0, 0, 'x')`)
      const after = await create(store, "after", "x")
      const listing = store.list({ prefix: ROOT })
      const watching = watched(store, { after: after - 2, count: 2 })
      expect(await Promise.race([listing, sleep(300)]), "it must wait").toBeUndefined()
      await late.query("COMMIT")
      const { entries, revision } = await listing
      expect(entries.map((entry) => entry.key)).toEqual([key("after"), key("late")])
      expect(revision).toBe(after)
      expect((await watching).map((change) => change.revision)).toEqual([after - 1, after])
      const next = watched(store, { after: revision, count: 1 })
      const last = await create(store, "last", "x")
      expect((await next).map((change) => change.revision)).toEqual([last])
    })

    test("a get waits for none of it, at any server; what began at the revision it saw misses nothing", async () => {
      const [store, other] = [await db.open(), await db.open()]
      const late = await db.stranger()
      await late.query(`BEGIN; ${INSERT} ('${key("late")}', 1, 0, 0, 0, 0, 'x')`)
      const revision = await create(store, "after", "x")
      const reading = Promise.all([store, other].map((each) => each.get(key("after"))))
      const seen = await Promise.race([reading, sleep(5_000)])
      expect(seen?.map((entry) => entry?.revision)).toEqual([revision, revision])
      expect(await store.get(key("late"))).toBeUndefined()
      const listing = live(other, revision)
      const watching = watched(other, { after: revision, count: 1 })
      expect(await Promise.race([listing, watching, sleep(300)]), "they must wait").toBeUndefined()
      await late.query("COMMIT")
      expect(await listing).toEqual({ late: "x", after: "x" })
      const next = await create(store, "next", "x")
      expect((await watching).map((change) => change.revision)).toEqual([next])
    })

    test("an id that never comes is filled as in kine, and nobody is told of it", async () => {
      const store = await db.open()
      const late = await db.stranger()
      await late.query(`BEGIN; ${INSERT} ('${key("never")}', 1, 0, 0, 0, 0, 'x')`)
      const after = await create(store, "after", "x")
      const watching = watched(store, { after: after - 2, count: 1 })
      await late.query("ROLLBACK")
      expect((await watching).map((change) => change.revision)).toEqual([after])
      expect((await store.list({ prefix: ROOT })).revision).toBe(after)
      const [filler] = await db.query(`SELECT * FROM kine WHERE id = ${after - 1}`)
      expect(filler?.map(String).join(" ")).toBe(
        `${after - 1} gap-${after - 1} 0 1 0 0 0 null null`,
      )
    })

    test("a server that starts waits for what is in flight", async () => {
      await db.open()
      const late = await db.stranger()
      await late.query(`BEGIN; ${INSERT} ('${key("late")}', 1, 0, 0, 0, 0, 'x')`)
      await db.query(`${INSERT} ('${key("after")}', 1, 0, 0, 0, 0, 'y')`)
      const opening = db.open()
      expect(await Promise.race([opening, sleep(300)]), "it must wait").toBeUndefined()
      await late.query("COMMIT")
      expect(await live(await opening)).toEqual({ late: "x", after: "y" })
    })
  })

  test("a row without a name, put in by hand, is rewritten and counted as any other, and stops nobody", async () => {
    const store = await db.open()
    await setFence(store, "f1")
    await db.query(`${INSERT} (NULL, 1, 0, 0, 0, 0, 'old')`)
    const after = await create(store, "after", "x")
    expect(await live(store)).toEqual({ after: "x" })
    const { rows } = await store.rows({ cursor: "", limit: 100 })
    const nameless = rows.filter((row) => row.key === "")
    expect(nameless).toMatchObject([{ revision: after - 1, value: bytes("old") }])
    expect(await store.countRows({ cursor: "", upTo: after })).toBe(rows.length)
    const replaced = {
      key: "",
      revision: after - 1,
      column: "value",
      expected: bytes("old"),
    } as const
    const result = await store.rewrite("f1", [{ ...replaced, replacement: bytes("new") }])
    expect(result).toEqual({ outcome: "done", replaced: 1 })
    const later = await create(store, "later", "x")
    expect(await watched(store, { after, count: 1 })).toMatchObject([{ revision: later }])
    expect(await live(await db.open())).toEqual({ after: "x", later: "x" })
  })

  // Found by the simulator: one found the tombstone of the key, the other nothing, and both created it.
  test("compaction waits for who creates a key again, so that nobody else does too", async () => {
    const store = await db.open()
    await setFence(store, "f1")
    const tombstone = await remove(store, "a", await create(store, "a", "one"))
    await create(store, "b", "x")
    const writer = await db.stranger()
    await writer.query(`BEGIN; ${dialect.lockShared}`)
    await writer.query(`${INSERT} ('${key("a")}', 1, 0, 0, ${tombstone}, 0, 'theirs')`)
    const compacting = store.compact(tombstone).then(() => "compacted")
    expect(await Promise.race([compacting, sleep(300)]), "it must wait").toBeUndefined()
    await writer.query("COMMIT")
    await compacting
    const again = await store.create({ key: key("a"), value: bytes("ours"), fence: undefined })
    expect(again).toMatchObject({ outcome: "conflict", current: { value: bytes("theirs") } })
  })

  describe("a table that is put back while servers run", () => {
    test("is read as it is now, at its own revision; watches from before end, and none begins there", async () => {
      const store = await db.open()
      const other = await db.open()
      await create(store, "a", "x")
      await db.query("CREATE TABLE snapshot AS SELECT * FROM kine")
      for (const name of ["b", "c", "d"]) await create(store, name, "x")
      const after = await store.revision()
      const watching = Promise.all(
        [store, other].map((each) => failure(watched(each, { after, count: 1 }))),
      )
      await sleep(50)
      const stranger = await db.stranger()
      await stranger.query(
        "BEGIN; DELETE FROM kine; INSERT INTO kine SELECT * FROM snapshot; COMMIT",
      )
      const { entries, revision } = await store.list({ prefix: ROOT })
      expect(entries.map((entry) => entry.key)).toEqual([key("a")])
      expect(revision, "no revision means two things").toBeGreaterThan(after)
      expect(await watching).toEqual(["SlowWatcher", "SlowWatcher"])
      for (const each of [store, other, await db.open()])
        expect(await failure(watched(each, { after, count: 1 }))).toBe("Compacted")
      const next = watched(other, { after: revision, count: 1 })
      const made = await create(store, "e", "x")
      expect((await next).map((change) => change.revision)).toEqual([made])
      expect(await live(other)).toEqual({ a: "x", e: "x" })
    })

    test("and written to before anybody looked: is noticed all the same", async () => {
      const store = await db.open()
      await create(store, "a", "x")
      await db.query("CREATE TABLE snapshot AS SELECT * FROM kine")
      for (const name of ["b", "c", "d"]) await create(store, name, "x")
      const after = await store.revision()
      const watching = failure(watched(store, { after: after - 1, count: 2 }))
      const stranger = await db.stranger()
      await stranger.query(
        `BEGIN; DELETE FROM kine; INSERT INTO kine SELECT * FROM snapshot;
        INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value)
        VALUES (${after + 1}, '${key("e")}', 1, 0, 0, 0, 0, 'x'); COMMIT`,
      )
      expect(await watching).toBe("SlowWatcher")
      expect(await live(store)).toEqual({ a: "x", e: "x" })
      expect(await failure(watched(store, { after: after - 1, count: 1 }))).toBe("Compacted")
      await create(store, "f", "x")
      expect(await live(store)).toEqual({ a: "x", e: "x", f: "x" })
    })

    test("and noticed by a server that was told less than another: its revisions go on above what that one told", async () => {
      const behind = await db.open()
      const ahead = await db.open()
      await create(behind, "a", "x")
      await db.query("CREATE TABLE snapshot AS SELECT * FROM kine")
      const told = await create(behind, "b", "x")
      await ahead.list({ prefix: ROOT })
      const stranger = await db.stranger()
      // No server announces it: who is not asked learns of it within a second.
      await stranger.query(`${INSERT} ('${key("c")}', 1, 0, 0, 0, 0, 'x')`)
      const { revision } = await ahead.list({ prefix: ROOT })
      expect(revision).toBe(told + 1)
      const watching = failure(watched(ahead, { after: revision, count: 1 }))
      await stranger.query(
        "BEGIN; DELETE FROM kine; INSERT INTO kine SELECT * FROM snapshot; COMMIT",
      )
      expect((await behind.list({ prefix: ROOT })).revision).toBeGreaterThan(revision)
      expect(await watching).toBe("SlowWatcher")
      expect(await live(ahead)).toEqual({ a: "x" })
    })
  })

  describe("several servers", () => {
    test("four that write at once each tell every change once, in order, and soon", async () => {
      const servers = await Promise.all(Array.from({ length: 4 }, () => db.open()))
      const [first] = servers
      if (first === undefined) throw new Error("no server")
      const after = await first.revision()
      const stop = new AbortController()
      const told = servers.map(async (store) => {
        const changes: Change[] = []
        for await (const batch of store.watch({ prefix: ROOT, after, signal: stop.signal })) {
          changes.push(...batch)
          if (changes.at(-1)?.key === key("end")) return changes
        }
        return changes
      })
      const made = (await Promise.all(servers.map(contend))).flat()
      made.push(await create(first, "end", ""))
      setTimeout(() => stop.abort(), 5_000).unref()
      const expected = made.toSorted((a, b) => a - b)
      for (const changes of await Promise.all(told)) {
        expect(changes.map(({ revision }) => revision)).toEqual(expected)
      }
    })

    test(`what one writes another tells within ${dialect.tellsWithinMs} ms at the median`, async () => {
      const [writer, reader] = [await db.open(), await db.open()]
      const after = await writer.revision()
      const watch = reader.watch({ prefix: ROOT, after, signal: AbortSignal.timeout(20_000) })
      const changes = watch[Symbol.asyncIterator]()
      const tookMs: number[] = []
      for (let turn = 0; turn < 15; turn += 1) {
        const next = changes.next()
        const start = performance.now()
        await create(writer, `n${turn}`, "x")
        expect((await next).done).toBe(false)
        tookMs.push(performance.now() - start)
        await sleep(12)
      }
      tookMs.sort((a, b) => a - b)
      expect(tookMs[7]).toBeLessThan(dialect.tellsWithinMs)
    })

    test("no write under the old fence commits after another server's step", async () => {
      const [mover, writer] = [await db.open(), await db.open()]
      await setFence(mover, "f0")
      const barriers: { fence: string; revision: number }[] = []
      const written: { fence: string; revision: number }[] = []
      let isOver = false
      const write = async (lane: number) => {
        for (let turn = 0; !isOver; turn += 1) {
          const fence = (await writer.fence()) ?? ""
          const name = `l${lane}-${turn}`
          const result = await writer.create({ key: key(name), value: bytes(fence), fence })
          if (result.outcome === "done") written.push({ fence, revision: result.revision })
        }
      }
      const lanes = Array.from({ length: 12 }, (_, lane) => write(lane))
      for (let turn = 0; turn < 60; turn += 1) {
        const fence = { expected: `f${turn}`, next: `f${turn + 1}` }
        const moved = await mover.step({ compare: [], fence })
        if (moved.outcome !== "done") throw new Error("the fence did not move")
        barriers.push({ fence: fence.expected, revision: moved.revision })
        await sleep(5)
      }
      isOver = true
      await Promise.all(lanes)
      expect(written.length).toBeGreaterThan(100)
      for (const { fence, revision } of barriers) {
        const late = written.filter((write) => write.fence === fence && write.revision > revision)
        expect(late, `under ${fence}, which ended at ${revision}`).toEqual([])
      }
    })

    test("a writer that is stopped anywhere holds nobody, and writes nothing after the fence moved", async () => {
      const mover = await db.open()
      const writer = fileURLToPath(new URL("../store/fenced-writer.ts", import.meta.url))
      await setFence(mover, "f0")
      for (let round = 0; round < 6; round += 1) {
        const url = db.server.url(db.database)
        const args = [writer, url, `r${round}`, `f${round}`]
        await using paused = new Program(process.execPath, args)
        await until(() => paused.stdout.length > 200 + round * 7)
        paused.signal("SIGSTOP")
        const start = performance.now()
        const fence = { expected: `f${round}`, next: `f${round + 1}` }
        const moved = await mover.step({ compare: [], fence })
        expect(performance.now() - start).toBeLessThan(3_000)
        paused.signal("SIGCONT")
        expect(await paused.ended).toBe(0)
        expect(paused.stdout).toContain("fenced")
        const last = Math.max(...paused.stdout.split("\n").map(Number).filter(Number.isFinite))
        if (moved.outcome !== "done") throw new Error("the fence did not move")
        expect(last).toBeLessThanOrEqual(moved.revision)
      }
    })

    test("a write that compares no fence waits for a step all the same: it may copy an old value", async () => {
      const store = await db.open()
      const expected = await create(store, "a", "x")
      const step = await db.stranger()
      await step.query(`BEGIN; ${dialect.lock}`)
      const writing = update(store, "a", { expected, text: "y" })
      expect(await Promise.race([writing, sleep(300)]), "it must wait").toBeUndefined()
      await step.query("COMMIT")
      expect(await writing).toBeGreaterThan(expected)
    })

    test("a compaction that another's commit took back is made again", async () => {
      const store = await db.open()
      const one = await create(store, "a", "one")
      const two = await update(store, "a", { expected: one, text: "two" })
      const other = await db.stranger()
      await other.query(
        "BEGIN; UPDATE kine SET prev_revision = 1 WHERE name = 'compact_rev_key' AND prev_revision = 0",
      )
      const compacting = store.compact(two)
      expect(await Promise.race([compacting, sleep(300)]), "it must wait").toBeUndefined()
      await other.query("COMMIT")
      await compacting
      expect(await store.compactedRevision()).toBe(two)
      // No connection was left in the transaction that failed.
      for (let turn = 0; turn < 20; turn += 1) expect(await live(store)).toEqual({ a: "two" })
    })

    test("several that compact at once leave what lives", async () => {
      const servers = await Promise.all([db.open(), db.open(), db.open()])
      const [first] = servers
      if (first === undefined) throw new Error("no server")
      let expected = await create(first, "a", "0")
      for (let turn = 1; turn <= 300; turn += 1) {
        expected = await update(first, "a", { expected, text: `${turn}` })
      }
      for (let back = 250; back >= 0; back -= 50) {
        await Promise.all(servers.map((store) => store.compact(expected - back)))
      }
      expect(await first.compactedRevision()).toBe(expected)
      for (const store of servers) expect(await live(store)).toEqual({ a: "300" })
      expect(Number((await db.query("SELECT COUNT(*) FROM kine"))[0]?.[0])).toBe(3)
    })

    test("a record changed by one wakes the other", async () => {
      const [writer, reader] = [await db.open(), await db.open()]
      const wakes = reader.watchRecords(AbortSignal.timeout(10_000))[Symbol.asyncIterator]()
      await reader.revision()
      await sleep(50)
      const seen = wakes.next()
      const put = [{ name: "keyring" as const, value: bytes("k") }]
      await writer.step({ compare: [{ name: "keyring", version: null }], put })
      expect((await seen).done).toBe(false)
      expect((await reader.record("keyring"))?.value).toEqual(bytes("k"))
    })

    test("one that stands still with the lock taken holds the others for less than 3 s", async () => {
      const [mover, writer] = [await db.open(), await db.open()]
      await setFence(mover, "f1")
      const paused = await db.stranger()
      await paused.query(dialect.limit)
      await paused.query(`BEGIN; ${dialect.lockShared}`)
      const start = performance.now()
      const moving = mover.step({ compare: [], fence: { expected: "f1", next: "f2" } })
      for (let turn = 0; turn < 20; turn += 1) {
        const began = performance.now()
        await writer.create({ key: key(`w${turn}`), value: bytes("x"), fence: "f1" })
        expect(performance.now() - began, "a write meanwhile").toBeLessThan(1_000)
      }
      expect((await moving).outcome).toBe("done")
      const tookMs = performance.now() - start
      expect(tookMs).toBeGreaterThan(1_500)
      expect(tookMs).toBeLessThan(3_000)
    })
  })
}
