import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { dataDirPaths } from "./data-dir.ts"
import { readStage } from "./encryption-files.ts"
import { makeDir, writeDurably } from "./files.ts"

const dir = mkdtempSync(join(tmpdir(), "keyturn-encryption-files-"))
afterAll(() => rmSync(dir, { recursive: true }))

test("the stage that K3s left is gone on from, a rewrite that it left unfinished is to be begun again", () => {
  const paths = dataDirPaths(dir)
  expect(readStage(paths)).toBe("start")
  makeDir(paths.cred)
  for (const [left, stage] of [
    ["start", "start"],
    ["prepare", "prepare"],
    ["rotate", "rotate"],
    ["reencrypt_request", "rotate"],
    ["reencrypt_active", "rotate"],
    ["reencrypt_finished", "reencrypt_finished"],
    ["unheard_of", "start"],
  ] as const) {
    writeDurably(paths.encryptionState, `${left}-${"0".repeat(64)}`)
    expect(readStage(paths), left).toBe(stage)
  }
})
