/** MariaDB under several writers at once, and what keyturn leaves in it. */
import { describe, expect, test } from "vitest"
import { sqlShared } from "../contract/sql-shared.contract.ts"
import {
  bytes,
  create,
  done,
  failure,
  key,
  ROOT,
  remove,
  setFence,
  update,
  watched,
} from "../contract/store-helpers.ts"
import type { Store } from "../../src/store/store.ts"
import { MariadbStores } from "../harness/mariadb-stores.ts"
import { until } from "../harness/process.ts"

const mariadb = new MariadbStores()

sqlShared(mariadb, {
  tellsWithinMs: 1_200,
  lock: "SELECT fence FROM keyturn_fence WHERE id = 1 FOR UPDATE",
  lockShared: "SELECT fence FROM keyturn_fence WHERE id = 1 LOCK IN SHARE MODE",
  limit: "SET SESSION idle_transaction_timeout = 2",
})

describe("what lies in the database", () => {
  test("the rows are kine's, column by column", async () => {
    const store = await mariadb.open()
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
    const rows = await mariadb.query("SELECT * FROM kine ORDER BY id")
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

  test("table and indexes are kine's, by name, type and character set", async () => {
    await mariadb.open()
    const [row] = await mariadb.query("SHOW CREATE TABLE kine")
    expect(String(row?.[1]).split("\n")).toEqual([
      "CREATE TABLE `kine` (",
      "  `id` bigint(20) unsigned NOT NULL AUTO_INCREMENT,",
      "  `name` varchar(630) CHARACTER SET ascii COLLATE ascii_general_ci DEFAULT NULL,",
      "  `created` int(11) DEFAULT NULL,",
      "  `deleted` int(11) DEFAULT NULL,",
      "  `create_revision` bigint(20) unsigned DEFAULT NULL,",
      "  `prev_revision` bigint(20) unsigned DEFAULT NULL,",
      "  `lease` int(11) DEFAULT NULL,",
      "  `value` mediumblob DEFAULT NULL,",
      "  `old_value` mediumblob DEFAULT NULL,",
      "  PRIMARY KEY (`id`),",
      "  UNIQUE KEY `kine_name_prev_revision_uindex` (`name`,`prev_revision`),",
      "  KEY `kine_name_index` (`name`),",
      "  KEY `kine_name_id_index` (`name`,`id`),",
      "  KEY `kine_id_deleted_index` (`id`,`deleted`),",
      "  KEY `kine_prev_revision_index` (`prev_revision`)",
      expect.stringMatching(/^\) ENGINE=InnoDB AUTO_INCREMENT=3 /),
    ])
  })

  test("servers that start together on nothing end with one of everything", async () => {
    await Promise.all(Array.from({ length: 6 }, () => mariadb.open()))
    expect(await mariadb.query("SELECT id, name FROM kine ORDER BY id")).toEqual([
      [1, "compact_rev_key"],
      [2, "/registry/health"],
    ])
  })

  test("in a table of another order, keys are listed by their bytes, and found only by these", async () => {
    const store = await mariadb.open()
    const names = ["b", "A", "a-1", "a_1", "a1", "C"]
    for (const name of names) await create(store, name, name)
    const listed = async (range: object) =>
      (await store.list({ prefix: ROOT, ...range })).entries.map(({ value }) => value.toString())
    expect(await listed({ limit: 3 })).toEqual(["A", "C", "a-1"])
    expect(await listed({ after: key("C") })).toEqual(["a-1", "a1", "a_1", "b"])
    expect(await listed({ prefix: key("A") })).toEqual(["A"])
    expect(await listed({ prefix: key("a") })).toEqual(["a-1", "a1", "a_1"])
    expect(await store.count(key("a"))).toBe(3)
    expect(await store.get(key("B"))).toBeUndefined()
    const after = (await store.revision()) - names.length
    const seen = await watched(store, { after, count: 3, prefix: key("a") })
    expect(seen.map((change) => change.key)).toEqual([key("a-1"), key("a_1"), key("a1")])
  })

  test("a key that is no ASCII is nobody's", async () => {
    const store = await mariadb.open()
    await create(store, "a", "x")
    expect(await store.get(key("\u00e4"))).toBeUndefined()
    expect((await store.list({ prefix: key("\u00e4") })).entries).toEqual([])
  })
})

test("a batch of large values is rewritten in several messages, and the table rebuilt while others write", async () => {
  const store = await mariadb.open()
  await setFence(store, "f")
  const large = (letter: string) => Buffer.alloc(1_500_000, letter)
  const names = Array.from({ length: 8 }, (_, index) => `n${index}`)
  const fence = "f"
  for (const name of names) done(await store.create({ key: key(name), value: large("a"), fence }))
  const { rows: read } = await store.rows({ cursor: "2", upTo: 100, limit: 100 })
  expect(read.length, "a batch of eight MiB").toBe(6)
  const replacements = read.map((row) => ({
    key: row.key,
    revision: row.revision,
    column: "value" as const,
    expected: large("a"),
    replacement: large("b"),
  }))
  expect(await store.rewrite(fence, replacements)).toEqual({ outcome: "done", replaced: 6 })
  const scrubbing = store.scrub()
  const made = await Promise.all(names.map((name) => create(store, `${name}-more`, "x")))
  await scrubbing
  const { entries } = await store.list({ prefix: key("n") })
  expect(entries.map(({ value }) => value.toString("latin1", 0, 1)).join("")).toBe(
    "bxbxbxbxbxbxaxax",
  )
  expect(new Set(made).size).toBe(8)
})

/** Values that lie outside of their rows, in pages of their own: rewriting leaves those as they were, on the disk too. What
 *  it leaves of a value inside of a row depends on how the pages were split and put in order. */
test("rewritten bytes are not in the table's file after it was scrubbed", async () => {
  const store = await mariadb.open()
  await setFence(store, "f")
  const [expected, replacement] = [bytes("OLD-BYTES-".repeat(2_000)), bytes("NEW-".repeat(5_000))]
  const names = ["a", "b", "c"]
  const made = await Promise.all(names.map((name) => create(store, name, String(expected))))
  const holdsOldBytes = async () => {
    await mariadb.query("FLUSH TABLES kine FOR EXPORT")
    return mariadb.server.tableFile(mariadb.database, "kine").includes("OLD-BYTES")
  }
  expect(await holdsOldBytes()).toBe(true)
  const replacements = made.map((revision, index) => ({
    key: key(names[index] ?? ""),
    revision,
    column: "value" as const,
    expected,
    replacement,
  }))
  expect(await store.rewrite("f", replacements)).toEqual({ outcome: "done", replaced: 3 })
  expect(await holdsOldBytes(), "the reason to rebuild it").toBe(true)
  await store.scrub([Buffer.from("OLD-BYTES")])
  expect(await holdsOldBytes()).toBe(false)
})

/** While it waits, every later statement on the table waits behind it. */
test("a rebuild that the table is not free for pauses before it is tried again, and ends with the store", async () => {
  const seen = async (question: string) =>
    Number((await mariadb.server.query("", question))[0]?.at(-1))
  const tries = () => seen("SHOW GLOBAL STATUS LIKE 'Com_alter_table'")
  const isTried = async () =>
    (await seen(
      `SELECT COUNT(*) FROM information_schema.processlist
       WHERE db = '${mariadb.database}' AND info LIKE 'ALTER TABLE%'`,
    )) > 0
  const [rebuilt, closed] = [await mariadb.open(), await mariadb.open()]
  const stranger = await mariadb.stranger()
  const pausing = async (store: Store) => {
    await stranger.query("BEGIN; SELECT COUNT(*) FROM kine")
    const scrubbing = failure(store.scrub())
    await until(isTried)
    await until(async () => !(await isTried()))
    return { scrubbing }
  }
  const first = await pausing(rebuilt)
  await stranger.query("COMMIT")
  expect(await first.scrubbing).toBe("no failure")

  const second = await pausing(closed)
  await closed.close()
  const before = await tries()
  expect(await second.scrubbing).toBe("StoreUnavailable")
  expect(await tries(), "none after it was closed").toBe(before)
})
