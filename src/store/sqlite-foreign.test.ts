/** What other programs may have put into kine's table: SQLite keeps any type in any column, and any id. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, expect, test } from "vitest"
import {
  allRows,
  create,
  failure,
  key,
  setFence,
  update,
} from "../../tests/contract/store-helpers.ts"
import { ERRORS } from "../errors.ts"
import { openSqlite } from "./sqlite.ts"
import type { Replacement, Store } from "./store.ts"

let folder: string
let store: Store
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "keyturn-store-"))
  store = openSqlite({ path: join(folder, "state.db") })
})
afterEach(async () => {
  await store.close()
  rmSync(folder, { recursive: true })
})

function foreign(sql: string): void {
  using db = new DatabaseSync(join(folder, "state.db"))
  db.exec(sql)
}

const insert = (values: string): void =>
  foreign(
    `INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
     VALUES ${values}`,
  )

test("a value that is TEXT is read, counted and rewritten by its bytes, as a BLOB is", async () => {
  await setFence(store, "f")
  insert(`('${key("a")}', 1, 0, 0, 0, 0, CAST(x'6b38ff00' AS TEXT), NULL)`)
  const entry = await store.get(key("a"))
  expect(entry?.value).toEqual(Buffer.from([0x6b, 0x38, 0xff, 0]))
  await update(store, "a", { expected: entry?.revision ?? 0, text: "new" })
  const replacements = (await allRows(store))
    .filter((row) => row.key === key("a"))
    .flatMap(({ key, revision, value, previous }): Replacement[] => [
      {
        key,
        revision,
        column: "value",
        expected: value ?? Buffer.alloc(0),
        replacement: Buffer.from("v"),
      },
      ...(previous
        ? [
            {
              key,
              revision,
              column: "previous" as const,
              expected: previous,
              replacement: Buffer.from("p"),
            },
          ]
        : []),
    ])
  expect(await store.rewrite("f", replacements)).toEqual({ outcome: "done", replaced: 3 })
  expect((await store.get(key("a")))?.value.toString()).toBe("v")
})

test("a name that is no TEXT keeps its value in sight of the rewriter, and out of the lists", async () => {
  insert(`
    (CAST('${key("blob")}' AS BLOB), 1, 0, 0, 0, 60, x'61', NULL),
    (NULL, 1, 0, 0, 0, 60, x'62', NULL)`)
  const revision = await create(store, "c", "c")
  const { cursor } = await store.rows({ cursor: "", upTo: revision - 3, limit: 10 })
  const { rows } = await store.rows({ cursor, limit: 10 })
  expect(rows.map((row) => [row.key, row.value?.toString()])).toEqual([
    [key("blob"), "a"],
    ["", "b"],
    [key("c"), "c"],
  ])
  expect(await store.countRows({ cursor })).toBe(3)
  expect((await store.list({ prefix: key("") })).entries).toHaveLength(1)
})

test("a revision near 2^53 is refused for good, and nothing counts the revisions before it", async () => {
  const last = Number.MAX_SAFE_INTEGER
  foreign(`INSERT INTO kine VALUES (${last}, '${key("far")}', 1, 0, 0, 0, 60, x'61', NULL)`)
  await store.close()
  const clocks: number[] = []
  const schedule = (_: () => void, delayMs: number) => {
    clocks.push(delayMs)
    return () => {}
  }
  store = openSqlite({ path: join(folder, "state.db"), schedule })
  await expect.poll(() => clocks).toEqual([60_000])
  expect(await failure(create(store, "a", "x"))).toBe("RevisionTooLarge")
  expect(ERRORS.RevisionTooLarge.again).toBe("final")
  await store.compact(last)
  expect(await store.compactedRevision()).toBe(last)
  expect((await store.get(key("far")))?.revision).toBe(last)
})
