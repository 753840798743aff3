import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { emptyKeyring } from "../keyring/keyring.ts"
import { newClusterKey, newFence } from "../keyring/record.ts"
import { openSqlite } from "../store/sqlite.ts"
import { createKeyring, Keys } from "./keys.ts"
import { Registry } from "./registry.ts"

const SECRETS = { storagePrefix: "/registry/secrets/" }
const dir = mkdtempSync(join(tmpdir(), "keyturn-registry-"))
const store = openSqlite({ path: join(dir, "state.db"), warn: () => {} })
afterAll(async () => {
  await store.close()
  rmSync(dir, { recursive: true })
})

test("what is read again and again is opened no more, and what is read once is not kept", async () => {
  const clusterKey = newClusterKey()
  const authority = { cert: "", key: "" }
  const keyring = emptyKeyring({ server: authority, client: authority }, { password: "pw" })
  const record = { epoch: 1, fence: newFence(), slots: [], keyring }
  await createKeyring(store, { record, clusterKey })
  const registry = new Registry(store, await Keys.open(store, clusterKey))
  const ref = { name: "s", namespace: "default" }
  await registry.create(SECRETS, ref, { kind: "Secret", apiVersion: "v1", metadata: ref })
  const read = async () => (await registry.get(SECRETS, ref)) ?? expect.fail("it is there")

  const once = await read()
  expect(once.isKept).toBeUndefined()
  const again = await read()
  expect(again).toEqual({ ...once, isKept: true })
  expect(again.object).not.toBe(once.object)
  expect(await read()).toBe(again)

  await registry.replace(again, { ...again.object, type: "other" })
  const replaced = await read()
  expect(replaced.object).toMatchObject({ type: "other" })
  expect(replaced.isKept).toBeUndefined()
})
