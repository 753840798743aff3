import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, onTestFinished, test } from "vitest"
import { Checkpoints } from "./sqlite-checkpoint.ts"
import { openFile } from "./sqlite-file.ts"

const PLANTED = "PLANTED!"

function opened() {
  const dir = mkdtempSync(join(tmpdir(), "keyturn-"))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const path = join(dir, "state.db")
  const db = openFile(path)
  onTestFinished(() => db.close())
  const pagesMax = () => db.prepare("PRAGMA wal_autocheckpoint").get()?.["wal_autocheckpoint"]
  return { db, path, pagesMax }
}

test("at the end the log is in the file, and commits move it again", async () => {
  const { db, path, pagesMax } = opened()
  const checkpoints = new Checkpoints(db, path)
  for (const turn of [1, 2]) {
    const planted = `${PLANTED}${turn}`
    db.prepare("INSERT INTO kine (name) VALUES (?)").run(planted)
    expect(readFileSync(path).includes(planted)).toBe(false)
    checkpoints.begin()
    checkpoints.begin()
    expect(pagesMax()).toBeGreaterThan(1_000)
    await checkpoints.end()
    expect(readFileSync(path).includes(planted)).toBe(true)
    expect(pagesMax()).toBe(1_000)
  }
  await checkpoints.end()
})

test("where the thread cannot work, commits move the log again", async () => {
  const { db, path, pagesMax } = opened()
  const checkpoints = new Checkpoints(db, join(path, "no", "such", "folder"))
  checkpoints.begin()
  await checkpoints.end()
  expect(pagesMax()).toBe(1_000)
})
