import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { openKeyring } from "../cluster/bootstrap.ts"
import { openDataDir } from "../cluster/data-dir.ts"
import { shownHashes } from "../cluster/node.ts"
import { Registry } from "../registry/registry.ts"
import { openSqlite } from "../store/sqlite.ts"
import { Publisher } from "./publish.ts"

const dir = mkdtempSync(join(tmpdir(), "keyturn-publish-"))
afterAll(() => rmSync(dir, { recursive: true }))

test("published is said when files and annotation are written, and not before", async () => {
  const now = () => new Date()
  const { paths, release } = openDataDir(dir, { now: now() })
  const store = openSqlite({ path: paths.state, warn: () => {} })
  const boot = { token: null, recoveryKey: null, configuration: null, firstKey: "aesgcm" } as const
  const { keys } = await openKeyring({ store, paths, now, ...boot })
  const registry = new Registry(store, keys)
  const os = { platform: "linux", arch: "amd64", release: "6" }
  const node = { name: "n1", addresses: [], version: "1", os }
  const publisher = new Publisher({ keys, registry, paths, node, now })
  expect(publisher.published).toBe(false)

  rmSync(paths.cred, { recursive: true })
  writeFileSync(paths.cred, "no folder")
  await expect(publisher.publish()).rejects.toMatchObject({ code: "FilesUnreadable" })
  expect(publisher.published).toBe(false)
  expect(await shownHashes(registry)).toEqual([])

  rmSync(paths.cred)
  mkdirSync(paths.cred)
  const publishing = publisher.publish()
  expect(publisher.published).toBe(false)
  await publishing
  expect(publisher.published).toBe(true)
  const hash = readFileSync(paths.encryptionState, "utf8")
  expect(hash).toMatch(/^start-[0-9a-f]{64}$/)
  expect(await shownHashes(registry)).toEqual([{ name: "n1", hash }])
  await store.close()
  release()
})
