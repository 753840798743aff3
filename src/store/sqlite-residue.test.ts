import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, expect, test } from "vitest"
import { failure } from "../../tests/contract/store-helpers.ts"
import { storeError } from "./sqlite-errors.ts"
import { RawFile, writeAfresh } from "./sqlite-residue.ts"

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "keyturn-residue-"))
  path = join(folder, "state.db")
})
afterEach(() => rmSync(folder, { recursive: true }))

const MIB = 1 << 20

test.each([
  ["at the start", 0],
  ["across two slices", MIB - 3],
  ["at the beginning of a slice", MIB],
  ["at the end", 2.5 * MIB - 7],
])("what is searched is found %s", async (_, at) => {
  const bytes = Buffer.alloc(2.5 * MIB, "k8s:en")
  writeFileSync(path, bytes)
  using file = new RawFile(path)
  const searched = [Buffer.from("k8s:enc"), Buffer.from("k8s\0")]
  expect(await file.holds(searched)).toBe(false)
  bytes.write("k8s:enc", at)
  writeFileSync(path, bytes)
  expect(await file.holds(searched)).toBe(true)
  expect(await file.holds(searched.slice(1))).toBe(false)
  expect(await file.holds([...searched, Buffer.from("other")])).toBe(true)
})

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
