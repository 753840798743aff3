import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, expect, test } from "vitest"
import { failure } from "../../tests/contract/store-helpers.ts"
import { openSqlite } from "./sqlite.ts"
import { openFile } from "./sqlite-file.ts"

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "keyturn-store-"))
  path = join(folder, "db", "state.db")
})
afterEach(() => rmSync(folder, { recursive: true }))

const mode = (file: string): string => (statSync(file).mode & 0o777).toString(8)

/** The table as K3s made it before 2026, in SQLite's default page size. */
const OLD_TABLE = `
  PRAGMA journal_mode = WAL;
  CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, created INTEGER, deleted INTEGER,
    create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
  CREATE INDEX kine_name_index ON kine (name);
  CREATE INDEX kine_name_id_index ON kine (name,id);
  CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);`

function oldFile(rows: string): void {
  mkdirSync(join(folder, "db"))
  const db = new DatabaseSync(path)
  db.exec(`${OLD_TABLE} INSERT INTO kine VALUES ${rows}`)
  db.close()
}

test("a new file has kine's table and indexes, and ours beside them", () => {
  const db = openFile(path)
  const names = db
    .prepare("SELECT name FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    .all()
    .map(({ name }) => name)
  expect(names).toEqual([
    "keyturn_fence",
    "keyturn_record",
    "kine",
    "kine_id_compact_rev_key_with_prev_revision_index",
    "kine_id_deleted_index",
    "kine_name_id_index",
    "kine_name_index",
    "kine_name_prev_revision_uindex",
    "kine_prev_revision_index",
    "sqlite_sequence",
  ])
  const columns = db.prepare("SELECT name || ' ' || type AS c FROM pragma_table_info('kine')").all()
  expect(columns.map(({ c }) => c)).toEqual([
    "id INTEGER",
    "name TEXT",
    "created INTEGER",
    "deleted INTEGER",
    "create_revision INTEGER",
    "prev_revision INTEGER",
    "lease INTEGER",
    "value BLOB",
    "old_value BLOB",
  ])
  db.close()
})

test("a new file is durable at each commit, clears what is deleted and is its owner's alone", () => {
  const db = openFile(path)
  const pragma = (name: string): unknown =>
    Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]
  expect(pragma("journal_mode")).toBe("wal")
  expect(pragma("synchronous"), "FULL").toBe(2)
  expect(pragma("secure_delete"), "ON").toBe(1)
  expect(pragma("page_size")).toBe(8192)
  expect(pragma("busy_timeout")).toBe(30_000)
  expect(pragma("temp_store_directory")).toBe(join(folder, "db"))
  expect(mode(join(folder, "db"))).toBe("700")
  for (const file of [path, `${path}-wal`, `${path}-shm`]) expect(mode(file), file).toBe("600")
  db.close()
})

test("a file that others could read is closed to them", () => {
  oldFile("(1, '/a', 1, 0, 0, 0, 0, x'61', NULL)")
  chmodSync(path, 0o644)
  openFile(path).close()
  expect(mode(path)).toBe("600")
})

test("kine's own rows stand in a new file and are made once", () => {
  openFile(path).close()
  const db = openFile(path)
  const rows = db.prepare("SELECT * FROM kine ORDER BY id").all()
  const common = { created: 1, deleted: 0, create_revision: 0, prev_revision: 0, lease: 0 }
  expect(rows.map((row) => ({ ...row }))).toEqual([
    { id: 1, name: "compact_rev_key", ...common, value: new Uint8Array(), old_value: null },
    {
      id: 2,
      name: "/registry/health",
      ...common,
      value: new Uint8Array(Buffer.from('{"health":"true"}')),
      old_value: null,
    },
  ])
  db.close()
})

test("a file that an older K3s left is served as it is", async () => {
  oldFile(`
    (1, 'compact_rev_key', 1, 0, 0, 4, 0, x'', NULL),
    (2, '/registry/health', 1, 0, 0, 0, 0, x'7b7d', NULL),
    (5, '/registry/secrets/a/b', 0, 0, 3, 3, 0, 'two', 'one'),
    (6, 'gap-6', 0, 1, 0, 0, 0, NULL, NULL),
    (7, 'compact_rev_key_apiserver', 1, 0, 0, 0, 0, x'31', NULL),
    (9, '/registry/secrets/a/b', 0, 0, 3, 5, 0, 'three', 'two')`)
  const store = openSqlite({ path })
  expect(await store.compactedRevision()).toBe(4)
  expect(await store.revision()).toBe(9)
  const entry = await store.get("/registry/secrets/a/b")
  expect(entry).toMatchObject({ revision: 9, createRevision: 3 })
  const all = await store.list({ prefix: "" })
  expect(all.entries.map(({ key }) => key)).toEqual([
    "/registry/health",
    "/registry/secrets/a/b",
    "compact_rev_key_apiserver",
  ])
  const told: string[] = []
  const signal = AbortSignal.timeout(5_000)
  for await (const batch of store.watch({ prefix: "", after: 4, signal })) {
    told.push(...batch.map(({ key, revision, type }) => `${type} ${key} ${revision}`))
    break
  }
  expect(told).toEqual([
    "update /registry/secrets/a/b 5",
    "create compact_rev_key_apiserver 7",
    "update /registry/secrets/a/b 9",
  ])
  await store.close()
  const db = new DatabaseSync(path)
  expect(db.prepare("PRAGMA page_size").get()).toMatchObject({ page_size: 4096 })
  db.close()
})

test("of several compact rows the highest stays", async () => {
  oldFile(`
    (1, 'compact_rev_key', 1, 0, 0, 3, 0, x'', NULL),
    (2, 'compact_rev_key', 1, 0, 0, 7, 0, x'', NULL),
    (3, 'compact_rev_key', 1, 0, 0, 5, 0, x'', NULL)`)
  const store = openSqlite({ path })
  expect(await store.compactedRevision()).toBe(7)
  await store.close()
  const db = new DatabaseSync(path)
  const left = db.prepare("SELECT id FROM kine WHERE name = 'compact_rev_key'").all()
  expect(left.map(({ id }) => id)).toEqual([2])
  db.close()
})

const opening = async (): Promise<void> => openSqlite({ path }).close()

test("what is no database, or no place for one, is refused in a sentence", async () => {
  mkdirSync(join(folder, "db"))
  writeFileSync(path, "this is a text, and it is longer than a hundred bytes. ".repeat(3))
  expect(await failure(opening())).toBe("StoreCorrupt")
  rmSync(path)
  mkdirSync(path)
  expect(await failure(opening())).toBe("FilesUnreadable")
})

test("revisions beyond 2^53 are refused, and nothing of the write stays", async () => {
  oldFile(`(9007199254740991, '/a', 1, 0, 0, 0, 0, x'61', NULL)`)
  const db = new DatabaseSync(path)
  db.exec("INSERT INTO kine VALUES (1, 'compact_rev_key', 1, 0, 0, 0, 0, x'', NULL)")
  db.exec("INSERT INTO kine VALUES (2, '/registry/health', 1, 0, 0, 0, 0, x'', NULL)")
  db.close()
  const store = openSqlite({ path })
  const write = { key: "/b", value: Buffer.from("x"), fence: undefined }
  expect(await failure(store.create(write))).toBe("RevisionTooLarge")
  expect(await store.get("/b")).toBeUndefined()
  expect(await store.revision()).toBe(Number.MAX_SAFE_INTEGER)
  await store.close()
})
