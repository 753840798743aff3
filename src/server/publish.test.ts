import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { openKeyring } from "../cluster/bootstrap.ts"
import { openDataDir } from "../cluster/data-dir.ts"
import { shownHashes } from "../cluster/node.ts"
import type { Stage } from "../keyring/keyring.ts"
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
  const { keys } = await openKeyring({ store, paths, now, server: "n1", ...boot })
  const registry = new Registry(store, keys)
  const os = { platform: "linux", arch: "amd64", release: "6" }
  const node = { name: "n1", addresses: [], version: "1", os }
  const publisher = new Publisher({ keys, registry, paths, node, now, reload: "watch" })
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

test("with restart, what another server changed is shown at the next start, and a rewrite that is shown is followed to its end", async () => {
  const now = () => new Date()
  const { paths, release } = openDataDir(join(dir, "restart"), { now: now() })
  const store = openSqlite({ path: paths.state, warn: () => {} })
  const boot = { token: null, recoveryKey: null, configuration: null, firstKey: "aesgcm" } as const
  const { keys } = await openKeyring({ store, paths, now, server: "n1", ...boot })
  const registry = new Registry(store, keys)
  const os = { platform: "linux", arch: "amd64", release: "6" }
  const publisherOf = (name: string, reload: "watch" | "restart") =>
    new Publisher({
      keys,
      registry,
      paths,
      now,
      reload,
      node: { name, addresses: [], version: "1", os },
    })
  const publishers = [publisherOf("asked", "restart"), publisherOf("other", "restart")]
  const [asked, other] = publishers as [Publisher, Publisher]
  const watching = publisherOf("watching", "watch")
  publishers.push(watching)
  for (const publisher of publishers) await publisher.publish()
  const shown = async () =>
    Object.fromEntries(
      (await shownHashes(registry)).map(({ name, hash }) => [name, hash.split("-")[0]]),
    )
  const setStage = async (stage: Stage) => {
    await keys.change("enable", ({ record: { keyring } }) => ({ keyring: { ...keyring, stage } }))
    for (const publisher of publishers) await publisher.follow()
  }

  await setStage("reencrypt_active")
  expect(await shown()).toEqual({ asked: "start", other: "start", watching: "reencrypt_active" })
  await asked.publish()
  expect(asked.shown.stage).toBe("reencrypt_active")
  await setStage("reencrypt_finished")
  const ended = { asked: "reencrypt_finished", watching: "reencrypt_finished" }
  expect(await shown()).toEqual({ ...ended, other: "start" })
  expect(publishers.map((publisher) => publisher.shown.stage)).toEqual([
    "reencrypt_finished",
    "start",
    "reencrypt_finished",
  ])
  await setStage("prepare")
  await other.renew()
  await asked.renew()
  await watching.renew()
  expect(await shown()).toEqual({ ...ended, other: "start", watching: "prepare" })
  await other.publish()
  expect(await shown()).toMatchObject({ other: "prepare" })
  await store.close()
  release()
})
