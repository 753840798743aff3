import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, expect, test } from "vitest"
import { KnownError } from "../errors.ts"
import { CommitQueue } from "./sqlite-commit.ts"
import { openFile } from "./sqlite-file.ts"
import type { Change } from "./store.ts"

let folder: string
let db: DatabaseSync
let queue: CommitQueue
let committed: string[][]
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "keyturn-commit-"))
  const path = join(folder, "state.db")
  db = openFile(path)
  db.exec("CREATE TABLE t (name TEXT UNIQUE, body BLOB)")
  committed = []
  const note = (changes: readonly Change[]): void => {
    committed.push(changes.map(({ key }) => key))
  }
  queue = new CommitQueue({ db, path, committed: note })
})
afterEach(() => {
  db.close()
  rmSync(folder, { recursive: true })
})

const insert = (name: string, sizeBytes = 1): Promise<string> =>
  queue.submit((changes) => {
    db.prepare("INSERT INTO t VALUES (?, zeroblob(?))").run(name, sizeBytes)
    changes.push({ type: "create", key: name, revision: 1 })
    return name
  })

const stored = (): unknown[] =>
  db
    .prepare("SELECT name FROM t ORDER BY name")
    .all()
    .map(({ name }) => name)

const outcomes = async (all: Promise<string>[]): Promise<string[]> =>
  (await Promise.allSettled(all)).map((result) => {
    if (result.status === "fulfilled") return result.value
    return result.reason instanceof KnownError ? result.reason.code : String(result.reason)
  })

test("what is submitted in one turn is committed together", async () => {
  expect(await outcomes([insert("a"), insert("b"), insert("c")])).toEqual(["a", "b", "c"])
  await insert("d")
  expect(committed).toEqual([["a", "b", "c"], ["d"]])
})

test("an operation that fails half way takes nothing with it and leaves nothing", async () => {
  const half = queue.submit((): string => {
    db.prepare("INSERT INTO t VALUES ('half', NULL)").run()
    throw new Error("half way")
  })
  const seen = await outcomes([insert("a"), half, insert("a"), insert("b")])
  expect(seen[0]).toBe("a")
  expect(seen[1]).toBe("Error: half way")
  expect(seen[2]).toMatch("UNIQUE constraint failed")
  expect(seen[3]).toBe("b")
  expect(stored()).toEqual(["a", "b"])
  expect(committed).toEqual([["a", "b"]])
})

test("a full disk fails the whole group and leaves nothing; afterwards there is work again", async () => {
  const pages = Number(db.prepare("PRAGMA page_count").get()?.["page_count"])
  db.exec(`PRAGMA max_page_count = ${pages + 2}`)
  const seen = await outcomes([insert("a"), insert("b", 1_000_000), insert("c")])
  expect(seen).toEqual(["DiskFull", "DiskFull", "DiskFull"])
  expect(stored()).toEqual([])
  expect(committed).toEqual([])
  db.exec("PRAGMA max_page_count = 1000000")
  expect(await insert("d", 1_000_000)).toBe("d")
})

test("a closed queue has committed what it took, and takes nothing more", async () => {
  const last = insert("a")
  queue.close()
  expect(stored()).toEqual(["a"])
  expect(await outcomes([last, insert("b")])).toEqual(["a", "StoreUnavailable"])
})
