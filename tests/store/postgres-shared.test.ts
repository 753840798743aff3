/** PostgreSQL under several writers at once, and what keyturn leaves in it. */
import { describe, expect, test } from "vitest"
import { sqlShared } from "../contract/sql-shared.contract.ts"
import {
  bytes,
  create,
  done,
  failure,
  key,
  live,
  ROOT,
  remove,
  update,
  watched,
} from "../contract/store-helpers.ts"
import { PostgresStores } from "../harness/postgres-stores.ts"

const pg = new PostgresStores()

sqlShared(pg, {
  tellsWithinMs: 100,
  lock: "SELECT pg_advisory_xact_lock(1801812340, 1)",
  lockShared: "SELECT pg_advisory_xact_lock_shared(1801812340, 1)",
  limit: "SET idle_in_transaction_session_timeout = '2s'",
})

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

test("an id that a filler took from a writer costs him a second try, not the write", async () => {
  const store = await pg.open()
  const next = Number((await pg.query("SELECT last_value + 1 FROM kine_id_seq"))[0]?.[0])
  await pg.query(
    `INSERT INTO kine (id, name, created, deleted) VALUES (${next}, 'gap-${next}', 0, 1)`,
  )
  expect(await create(store, "a", "x")).toBe(next + 1)
  expect(await live(store)).toEqual({ a: "x" })
})

const OF_KEYTURN =
  "SELECT string_agg(oid::regprocedure::text, ', ') FROM pg_proc WHERE proname LIKE 'keyturn%'"
const functionsOf = async (): Promise<string> => String((await pg.query(OF_KEYTURN))[0]?.[0])

test("a database that is put back without this version's functions has them again", async () => {
  const store = await pg.open()
  const first = await create(store, "a", "x")
  const second = await create(store, "b", "x")
  const ended = failure(watched(store, { after: second, count: 1 }))
  await pg.query(`DROP FUNCTION ${await functionsOf()}`)
  await pg.query(`DELETE FROM kine WHERE id > ${first}`)
  expect(await ended).toBe("SlowWatcher")
  await create(store, "c", "x")
  expect(await live(store)).toEqual({ a: "x", c: "x" })
})

test("a database that is put back with functions of another role is used with them", async () => {
  const user = `of_${pg.database}`
  await pg.server.query("postgres", `CREATE ROLE ${user} LOGIN PASSWORD 'p'`)
  await pg.server.query("postgres", `CREATE DATABASE ${pg.database} OWNER ${user}`)
  const store = await pg.open({ user, password: "p" })
  const first = await create(store, "a", "x")
  const second = await create(store, "b", "x")
  const ended = failure(watched(store, { after: second, count: 1 }))
  for (const one of (await functionsOf()).split(/(?<=\)), /))
    await pg.query(`ALTER FUNCTION ${one} OWNER TO CURRENT_USER`)
  await pg.query(`DELETE FROM kine WHERE id > ${first}`)
  expect(await ended).toBe("SlowWatcher")
  await create(store, "c", "x")
  expect(await live(store)).toEqual({ a: "x", c: "x" })
})
