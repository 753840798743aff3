import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, expect, test } from "vitest"
import { filesBelow } from "../../tests/harness/stored.ts"
import { openSqlite } from "../store/sqlite.ts"
import type { Store } from "../store/store.ts"
import { type Bootstrap, openKeyring } from "./bootstrap.ts"
import { dataDirPaths, openDataDir } from "./data-dir.ts"

let dataDir: string
let database: string
let store: Store
beforeEach(() => {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-bootstrap-"))
  dataDir = join(folder, "data")
  database = join(folder, "state.db")
  openDataDir(dataDir, { now: new Date() }).release()
  store = openSqlite({ path: database })
})
afterEach(async () => {
  await store.close()
  rmSync(join(dataDir, ".."), { recursive: true })
})

const open = (given: Partial<Bootstrap> = {}) =>
  openKeyring({
    store,
    paths: dataDirPaths(dataDir),
    token: null,
    recoveryKey: null,
    configuration: null,
    firstKey: "aescbc",
    now: () => new Date(),
    ...given,
  })

test("a keyring that is gone while its fence stands is told as lost, and nothing is written", async () => {
  await open()
  using db = new DatabaseSync(database)
  db.exec("DELETE FROM keyturn_record WHERE name = 'keyring'")
  const fence = await store.fence()
  const files = filesBelow(dataDir)
  await expect(open({ token: "another" })).rejects.toMatchObject({
    code: "RecordCorrupt",
    message: "the datastore has a fence and no keyring: the keyring record was removed",
  })
  expect(filesBelow(dataDir)).toEqual(files)
  expect(await store.fence()).toBe(fence)
  expect(await store.record("keyring")).toBeUndefined()
})
