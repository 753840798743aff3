/** PostgreSQL under several writers at once, and what keyturn leaves in it. */
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import type { Change } from "../../src/store/store.ts"
import {
  bytes,
  create,
  done,
  key,
  live,
  ROOT,
  remove,
  setFence,
  update,
  watched,
} from "../contract/store-helpers.ts"
import { PostgresStores, sleep } from "../harness/postgres-stores.ts"
import { Program, until } from "../harness/process.ts"
import { contend } from "./contend.ts"

const pg = new PostgresStores()

const INSERT =
  "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES"

describe("what lies in the database", () => {
  test("the rows are kine's, column by column", async () => {
    const store = await pg.open()
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    const three = await update(store, "a", { expected: two, text: "three" })
    const four = await remove(store, "a", three)
    const five = await create(store, "a", "")
    await update(store, "a", { expected: five, text: "six" })
    const brief = { key: key("b"), value: bytes("b"), fence: undefined, ttlSeconds: 3600 }
    await remove(store, "b", done(await store.create(brief)))
    expect([one, two, three, four, five]).toEqual([3, 4, 5, 6, 7])
    const shown = (value: unknown): string =>
      Buffer.isBuffer(value) ? `'${value.toString()}'` : String(value)
    const rows = await pg.query("SELECT * FROM kine ORDER BY id")
    // id name created deleted create_revision prev_revision lease value old_value
    expect(rows.map((row) => row.map(shown).join(" "))).toEqual([
      "1 compact_rev_key 1 0 0 0 0 '' null",
      `2 /registry/health 1 0 0 0 0 '{"health":"true"}' null`,
      `3 ${key("a")} 1 0 0 0 0 'one' null`,
      `4 ${key("a")} 0 0 3 3 0 'two' 'one'`,
      `5 ${key("a")} 0 0 3 4 0 'three' 'two'`,
      `6 ${key("a")} 0 1 0 5 0 null 'three'`,
      `7 ${key("a")} 1 0 0 6 0 '' null`,
      `8 ${key("a")} 0 0 7 7 0 'six' ''`,
      `9 ${key("b")} 1 0 0 0 3600 'b' null`,
      `10 ${key("b")} 0 1 0 9 0 null 'b'`,
    ])
  })

  test("table and indexes are kine's, by name, type and collation", async () => {
    await pg.open()
    const columns = await pg.query(
      `SELECT column_name || ' ' || data_type || COALESCE(' ' || collation_name, '')
       FROM information_schema.columns WHERE table_name = 'kine' ORDER BY ordinal_position`,
    )
    expect(columns.flat()).toEqual([
      "id bigint",
      "name text C",
      "created integer",
      "deleted integer",
      "create_revision bigint",
      "prev_revision bigint",
      "lease integer",
      "value bytea",
      "old_value bytea",
    ])
    const indexes = await pg.query(
      `SELECT replace(replace(indexdef, ' ON public.kine USING btree ', ' '), 'CREATE ', '')
       FROM pg_indexes WHERE tablename = 'kine' ORDER BY indexname`,
    )
    expect(indexes.flat()).toEqual([
      "INDEX kine_id_deleted_index (id, deleted)",
      "INDEX kine_list_query_index (name, id DESC, deleted)",
      "INDEX kine_name_id_index (name, id)",
      "INDEX kine_name_index (name)",
      "UNIQUE INDEX kine_name_prev_revision_uindex (name, prev_revision)",
      "UNIQUE INDEX kine_pkey (id)",
      "INDEX kine_prev_revision_index (prev_revision)",
    ])
  })

  test("servers that start together on nothing end with one of everything", async () => {
    await Promise.all(Array.from({ length: 6 }, () => pg.open()))
    expect(await pg.query("SELECT id, name FROM kine ORDER BY id")).toEqual([
      ["1", "compact_rev_key"],
      ["2", "/registry/health"],
    ])
  })

  test("an older kine's table, with the database's collation, is listed in the order of bytes", async () => {
    await pg.server.query("postgres", `CREATE DATABASE ${pg.database}`)
    await pg.query(`CREATE TABLE kine (id SERIAL PRIMARY KEY, name VARCHAR(630) COLLATE "und-x-icu",
      created INTEGER, deleted INTEGER, create_revision INTEGER, prev_revision INTEGER,
      lease INTEGER, value bytea, old_value bytea)`)
    const store = await pg.open()
    for (const name of ["b", "A", "a-1", "a1", "B"]) await create(store, name, name)
    const { entries } = await store.list({ prefix: ROOT, limit: 4 })
    expect(entries.map(({ value }) => value.toString())).toEqual(["A", "B", "a-1", "a1"])
    const under = await store.list({ prefix: key("a") })
    expect(under.entries.map(({ value }) => value.toString())).toEqual(["a-1", "a1"])
    const rest = await store.list({ prefix: ROOT, after: key("a-1") })
    expect(rest.entries.map(({ value }) => value.toString())).toEqual(["a1", "b"])
  })
})

describe("rows that commit late", () => {
  test("a list waits for what was given an id before it, and a watch from it misses nothing", async () => {
    const store = await pg.open()
    const late = await pg.stranger()
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

  test("an id that never comes is filled as in kine, and nobody is told of it", async () => {
    const store = await pg.open()
    const late = await pg.stranger()
    await late.query(`BEGIN; ${INSERT} ('${key("never")}', 1, 0, 0, 0, 0, 'x')`)
    const after = await create(store, "after", "x")
    const watching = watched(store, { after: after - 2, count: 1 })
    await late.query("ROLLBACK")
    expect((await watching).map((change) => change.revision)).toEqual([after])
    expect((await store.list({ prefix: ROOT })).revision).toBe(after)
    expect(await pg.query(`SELECT * FROM kine WHERE id = ${after - 1}`)).toEqual([
      [`${after - 1}`, `gap-${after - 1}`, 0, 1, "0", "0", 0, null, null],
    ])
  })

  test("a server that starts waits for what is in flight", async () => {
    await pg.open()
    const late = await pg.stranger()
    await late.query(`BEGIN; ${INSERT} ('${key("late")}', 1, 0, 0, 0, 0, 'x')`)
    await pg.query(`${INSERT} ('${key("after")}', 1, 0, 0, 0, 0, 'y')`)
    const opening = pg.open()
    expect(await Promise.race([opening, sleep(300)]), "it must wait").toBeUndefined()
    await late.query("COMMIT")
    expect(await live(await opening)).toEqual({ late: "x", after: "y" })
  })

  test("an id that a filler took from a writer costs him a second try, not the write", async () => {
    const store = await pg.open()
    const next = Number((await pg.query("SELECT last_value + 1 FROM kine_id_seq"))[0]?.[0])
    await pg.query(
      `INSERT INTO kine (id, name, created, deleted) VALUES (${next}, 'gap-${next}', 0, 1)`,
    )
    expect(await create(store, "a", "x")).toBe(next + 1)
    expect(await live(store)).toEqual({ a: "x" })
  })
})

describe("several servers", () => {
  test("four that write at once each tell every change once, in order, and soon", async () => {
    const servers = await Promise.all(Array.from({ length: 4 }, () => pg.open()))
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

  test("what one writes another tells within 100 ms at the median", async () => {
    const [writer, reader] = [await pg.open(), await pg.open()]
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
    expect(tookMs[7]).toBeLessThan(100)
  })

  test("no write under the old fence commits after another server's step", async () => {
    const [mover, writer] = [await pg.open(), await pg.open()]
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
    const mover = await pg.open()
    const writer = fileURLToPath(new URL("./fenced-writer.ts", import.meta.url))
    await setFence(mover, "f0")
    for (let round = 0; round < 6; round += 1) {
      const url = pg.server.url(pg.database)
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
    const store = await pg.open()
    const expected = await create(store, "a", "x")
    const step = await pg.stranger()
    await step.query("BEGIN; SELECT pg_advisory_xact_lock(1801812340, 1)")
    const writing = update(store, "a", { expected, text: "y" })
    expect(await Promise.race([writing, sleep(300)]), "it must wait").toBeUndefined()
    await step.query("COMMIT")
    expect(await writing).toBeGreaterThan(expected)
  })

  test("a compaction that another's commit took back is made again", async () => {
    const store = await pg.open()
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    const other = await pg.stranger()
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
    const servers = await Promise.all([pg.open(), pg.open(), pg.open()])
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
    expect(await pg.query("SELECT COUNT(*) FROM kine")).toEqual([["3"]])
  })

  test("a record changed by one wakes the other", async () => {
    const [writer, reader] = [await pg.open(), await pg.open()]
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
    const [mover, writer] = [await pg.open(), await pg.open()]
    await setFence(mover, "f1")
    // The session of a keyturn, which the server's limit must end.
    const paused = await pg.stranger()
    await paused.query("SET idle_in_transaction_session_timeout = '2s'")
    await paused.query("BEGIN; SELECT pg_advisory_xact_lock_shared(1801812340, 1)")
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
