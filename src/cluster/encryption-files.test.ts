import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { dataDirPaths } from "./data-dir.ts"
import { emptyKeyring } from "../keyring/keyring.ts"
import { keyringFrom, readStage, withKeysOf } from "./encryption-files.ts"
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

const configured = (...names: string[]) => {
  const keys = names.map((name) => ({ name, secret: Buffer.alloc(32, name).toString("base64") }))
  const resources = [{ resources: ["secrets"], providers: [{ aescbc: { keys } }] }]
  const text = JSON.stringify({
    apiVersion: "apiserver.config.k8s.io/v1",
    kind: "EncryptionConfiguration",
    resources,
  })
  return { file: "a file", text }
}

test("keys that are taken in stand before those that are there, so that a prepared key stays the last", () => {
  const pair = { cert: "", key: "" }
  const empty = emptyKeyring({ server: pair, client: pair }, { password: "pw" })
  const first = keyringFrom(empty, configured("a", "b"), "")
  expect(first.keys.map(({ name }) => name)).toEqual(["a", "b"])
  const more = withKeysOf(first, configured("c", "a", "d"), "")
  expect(more.keys.map(({ name }) => name)).toEqual(["c", "d", "a", "b"])
  expect(withKeysOf(more, configured("d"), "")).toBe(more)
})
