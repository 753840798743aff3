/** PostgreSQL under several writers, and under faults between it and a writer. */
import { inspect } from "node:util"
import type { Client } from "pg"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { KnownError } from "../../src/errors.ts"
import { openPostgres } from "../../src/store/postgres.ts"
import type { PostgresAddress } from "../../src/store/postgres-url.ts"
import type { Change, Store } from "../../src/store/store.ts"
import {
  bytes,
  create,
  done,
  failure,
  key,
  live,
  ROOT,
  remove,
  setFence,
  update,
  watched,
} from "../contract/store-helpers.ts"
import { Way } from "../harness/cut.ts"
import { Postgres } from "../harness/postgres.ts"
import { until } from "../harness/process.ts"
import { missing, needs } from "../harness/programs.ts"

needs("postgres")
let server: Postgres
beforeAll(async () => {
  if ((await missing("postgres")) === undefined) server = await Postgres.start()
})
afterAll(() => server?.[Symbol.asyncDispose]())

let address: PostgresAddress
let stores: Store[]
/** One more server's store on the test's database. */
async function open(overrides: Partial<PostgresAddress> = {}): Promise<Store> {
  const store = await openPostgres({ address: { ...address, ...overrides } })
  stores.push(store)
  return store
}
/** A connection that does what no keyturn would. */
async function stranger(): Promise<Client> {
  const client = server.client(address.database)
  await client.connect()
  strangers.push(client)
  return client
}
let strangers: Client[]
beforeEach(() => {
  address = server.newDatabase()
  stores = []
  strangers = []
})
afterEach(async () => {
  await Promise.all(strangers.map((client) => client.end()))
  await Promise.all(stores.map((store) => store.close()))
})

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const query = (text: string) => server.query(address.database, text)
const INSERT =
  "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES"

describe("what lies in the database", () => {
  test("the rows are kine's, column by column", async () => {
    const store = await open()
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
    const rows = await query("SELECT * FROM kine ORDER BY id")
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
    await open()
    const columns = await query(
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
    const indexes = await query(
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
    await Promise.all(Array.from({ length: 6 }, () => open()))
    expect(await query("SELECT id, name FROM kine ORDER BY id")).toEqual([
      ["1", "compact_rev_key"],
      ["2", "/registry/health"],
    ])
  })

  test("an older kine's table, with the database's collation, is listed in the order of bytes", async () => {
    await server.query("postgres", `CREATE DATABASE ${address.database}`)
    await query(`CREATE TABLE kine (id SERIAL PRIMARY KEY, name VARCHAR(630) COLLATE "und-x-icu",
      created INTEGER, deleted INTEGER, create_revision INTEGER, prev_revision INTEGER,
      lease INTEGER, value bytea, old_value bytea)`)
    const store = await open()
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
    const store = await open()
    const late = await stranger()
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
    const store = await open()
    const late = await stranger()
    await late.query(`BEGIN; ${INSERT} ('${key("never")}', 1, 0, 0, 0, 0, 'x')`)
    const after = await create(store, "after", "x")
    const watching = watched(store, { after: after - 2, count: 1 })
    await late.query("ROLLBACK")
    expect((await watching).map((change) => change.revision)).toEqual([after])
    expect((await store.list({ prefix: ROOT })).revision).toBe(after)
    expect(await query(`SELECT * FROM kine WHERE id = ${after - 1}`)).toEqual([
      [`${after - 1}`, `gap-${after - 1}`, 0, 1, "0", "0", 0, null, null],
    ])
  })

  test("a server that starts waits for what is in flight", async () => {
    await open()
    const late = await stranger()
    await late.query(`BEGIN; ${INSERT} ('${key("late")}', 1, 0, 0, 0, 0, 'x')`)
    await query(`${INSERT} ('${key("after")}', 1, 0, 0, 0, 0, 'y')`)
    const opening = open()
    expect(await Promise.race([opening, sleep(300)]), "it must wait").toBeUndefined()
    await late.query("COMMIT")
    expect(await live(await opening)).toEqual({ late: "x", after: "y" })
  })

  test("an id that a filler took from a writer costs him a second try, not the write", async () => {
    const store = await open()
    const next = Number((await query("SELECT last_value + 1 FROM kine_id_seq"))[0]?.[0])
    await query(
      `INSERT INTO kine (id, name, created, deleted) VALUES (${next}, 'gap-${next}', 0, 1)`,
    )
    expect(await create(store, "a", "x")).toBe(next + 1)
    expect(await live(store)).toEqual({ a: "x" })
  })
})

describe("several servers", () => {
  test("four that write at once each tell every change once, in order, and soon", async () => {
    const servers = await Promise.all(Array.from({ length: 4 }, () => open()))
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
    const [writer, reader] = [await open(), await open()]
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
    const [mover, writer] = [await open(), await open()]
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

  test("a record changed by one wakes the other", async () => {
    const [writer, reader] = [await open(), await open()]
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
    const [mover, writer] = [await open(), await open()]
    await setFence(mover, "f1")
    // The session of a keyturn, which the server's limit must end.
    const paused = await stranger()
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

/** Creates, changes and deletes keys that the others want as well; the revisions made. */
async function contend(store: Store, lane: number): Promise<number[]> {
  const made: number[] = []
  for (let turn = 0; turn < 60; turn += 1) {
    const name = turn % 3 === 0 ? `own-${lane}-${turn}` : `common-${turn % 5}`
    const { entry } = await store.get(key(name))
    const write = { key: key(name), value: bytes(`${lane}`), fence: undefined }
    const result =
      entry === undefined
        ? await store.create(write)
        : turn % 4 === 0
          ? await store.delete({ ...write, expected: entry.revision })
          : await store.update({ ...write, expected: entry.revision })
    if (result.outcome === "done") made.push(result.revision)
  }
  return made
}

/** Several connections that wait for a statement. */
async function connected(store: Store): Promise<void> {
  await Promise.all(Array.from({ length: 4 }, () => store.count(ROOT)))
  await sleep(50)
}

describe("the way to the server is cut", () => {
  test("a write that was done is found, one that did not arrive is unknown; none is repeated", async () => {
    await using way = await Way.to(server.port)
    const direct = await open()
    const store = await open({ port: way.port })
    const revision = await create(direct, "a", "one")
    await connected(store)

    way.lose("answers")
    const found = update(store, "a", { expected: revision, text: "two" })
    await expect.poll(() => live(direct)).toMatchObject({ a: "two" })
    way.mend()
    const second = (await direct.get(key("a"))).entry?.revision
    expect(await found).toBe(second)

    await connected(store)
    way.lose("requests")
    const lost = failure(update(store, "a", { expected: await found, text: "three" }))
    await sleep(20)
    way.mend()
    expect(await lost).toBe("OutcomeUnknown")
    await sleep(200)
    expect(await live(direct)).toEqual({ a: "two" })
  })

  test("another's bytes in the place of a lost write are a conflict", async () => {
    await using way = await Way.to(server.port)
    const direct = await open()
    const store = await open({ port: way.port })
    const expected = await create(direct, "a", "one")
    await connected(store)
    way.lose("requests")
    const write = { key: key("a"), value: bytes("mine"), expected, fence: undefined }
    const lost = store.update(write)
    const created = store.create({ ...write, key: key("new") })
    const theirs = await update(direct, "a", { expected, text: "theirs" })
    await create(direct, "new", "theirs")
    way.mend()
    expect(await lost).toMatchObject({ outcome: "conflict", current: { revision: theirs } })
    expect(await created).toMatchObject({
      outcome: "conflict",
      current: { value: bytes("theirs") },
    })
  })

  test("a change of the records whose answer was lost is recognised", async () => {
    await using way = await Way.to(server.port)
    const direct = await open()
    const store = await open({ port: way.port })
    await setFence(store, "f1")
    way.lose("answers")
    const put = [{ name: "keyring" as const, value: bytes("k") }]
    const changing = store.step({ compare: [{ name: "keyring", version: null }], put })
    await expect.poll(() => direct.record("keyring")).toBeDefined()
    way.mend()
    expect((await changing).outcome).toBe("done")
  })

  test("reads and writes fail plainly while it lasts; a watch goes on where it was", async () => {
    await using way = await Way.to(server.port)
    const direct = await open()
    const store = await open({ port: way.port })
    const after = await store.revision()
    const watching = watched(store, { after, count: 3 })
    await connected(store)
    const made = [await create(store, "a", "x")]
    await sleep(50)
    way.cut()
    expect(await failure(store.list({ prefix: ROOT }))).toBe("StoreUnavailable")
    expect(["StoreUnavailable", "OutcomeUnknown"]).toContain(await failure(create(store, "b", "x")))
    made.push(await create(direct, "c", "x"))
    way.mend()
    made.push(await until(() => create(store, "d", "x").catch(() => undefined)))
    expect((await watching).map(({ revision }) => revision)).toEqual(made)
  })

  test("the server starts anew: what it acknowledged is there, the watch goes on", async () => {
    const store = await open()
    const after = await store.revision()
    const watching = watched(store, { after, count: 2 })
    await connected(store)
    const made = [await create(store, "a", "x")]
    await server.stop("SIGQUIT") // its crash: every connection ends, the log is replayed
    expect(await failure(store.get(key("a")))).toBe("StoreUnavailable")
    await server.start()
    made.push(await until(() => create(store, "b", "x").catch(() => undefined)))
    expect((await watching).map(({ revision }) => revision)).toEqual(made)
    expect(await live(store)).toEqual({ a: "x", b: "x" })
  })
})

describe("what is refused", () => {
  const refusal = async (overrides: Partial<PostgresAddress>): Promise<KnownError> => {
    const error: unknown = await open(overrides).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    if (error instanceof KnownError) return error
    throw new Error(`expected a refusal, saw ${inspect(error)}`)
  }

  test("a server that does not wait for the disk", async () => {
    await server.query("postgres", `CREATE DATABASE ${address.database}`)
    await query(`ALTER DATABASE ${address.database} SET synchronous_commit = off`)
    const { code, message } = await refusal({})
    expect(code).toBe("ConfigInvalid")
    expect(message).toContain("synchronous_commit is off")
  })

  test("nothing that is shown of a failure holds the password", async () => {
    const password = "another-p4ssword"
    const failures = [
      await refusal({ password }),
      await refusal({ password, user: "nobody" }),
      await refusal({ password, port: 1 }),
      await refusal({ password, host: "no-such-host.invalid" }),
    ]
    for (const error of failures) {
      expect(error.code).toBe("StoreUnavailable")
      expect(error.message).toMatch(/^PostgreSQL database test_\d+ at \S+:\d+: ./)
      expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(password)
    }
    expect(failures[0]?.message).toContain("SQLSTATE 28P01")
  })
})
