import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, expect, test } from "vitest"
import { failure } from "../../tests/contract/store-helpers.ts"
import { storeError } from "./sqlite-errors.ts"
import { writeAfresh } from "./sqlite-residue.ts"

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "keyturn-residue-"))
  path = join(folder, "state.db")
})
afterEach(() => rmSync(folder, { recursive: true }))

test("a database written afresh keeps its rows and gives its free pages back", async () => {
  using db = new DatabaseSync(path)
  db.exec(`PRAGMA journal_mode = WAL; CREATE TABLE t (a BLOB);
    INSERT INTO t VALUES (zeroblob(2000000)); INSERT INTO t VALUES (x'01'); DELETE FROM t WHERE length(a) > 1`)
  await writeAfresh(path)
  expect(db.prepare("PRAGMA freelist_count").get()).toEqual({ freelist_count: 0 })
  expect(db.prepare("SELECT hex(a) AS a FROM t").all()).toEqual([{ a: "01" }])
})

test("what SQLite says against it is told as a store's failure", async () => {
  writeFileSync(path, "this is a text, and it is longer than a hundred bytes. ".repeat(3))
  const writing = writeAfresh(path).catch((error: unknown) => {
    throw storeError(path, error)
  })
  expect(await failure(writing)).toBe("StoreCorrupt")
})
