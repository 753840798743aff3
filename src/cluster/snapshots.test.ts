import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, onTestFinished, test } from "vitest"
import { openSqlite } from "../store/sqlite.ts"
import { dataDirPaths } from "./data-dir.ts"
import { saveSnapshot } from "./snapshots.ts"

test.each([
  ["ENOSPC", "DiskFull"],
  ["EDQUOT", "DiskFull"],
  ["EACCES", "FilesUnreadable"],
])("a copy that ends in %s is told as %s, and nothing of it is left", async (code, told) => {
  const dir = mkdtempSync(join(tmpdir(), "keyturn-snapshots-"))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const store = openSqlite({ path: join(dir, "state.db") })
  onTestFinished(() => store.close())
  const copy = store.snapshot.bind(store)
  store.snapshot = async (path) => {
    await copy(path)
    throw Object.assign(new Error(`${code}: write`), { code, syscall: "write" })
  }
  const paths = dataDirPaths(dir)
  const saving = saveSnapshot(paths, { store, name: "s", nodeName: "n", now: new Date() })
  await expect(saving).rejects.toMatchObject({ code: told })
  expect(readdirSync(paths.snapshots)).toEqual([])
})
