import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { emptyKeyring } from "../keyring/keyring.ts"
import { newClusterKey, newFence } from "../keyring/record.ts"
import { openSqlite } from "../store/sqlite.ts"
import { afterSteps } from "../../tests/harness/after-steps.ts"
import { createKeyring, Keys } from "./keys.ts"

const dir = mkdtempSync(join(tmpdir(), "keyturn-keys-"))
const store = openSqlite({ path: join(dir, "state.db"), warn: () => {} })
afterAll(async () => {
  await store.close()
  rmSync(dir, { recursive: true })
})

const authority = { cert: "", key: "" }

test("a datastore that lost its keyring is told as such", async () => {
  const opened = Keys.open(store, newClusterKey())
  await expect(opened).rejects.toMatchObject({ code: "RecordCorrupt" })
})

test("the keyring is readable at every moment of a change of the cluster key, also when its outcome is unknown", async () => {
  const clusterKey = newClusterKey()
  const keyring = emptyKeyring({ server: authority, client: authority })
  await createKeyring(store, {
    record: { epoch: 1, fence: newFence(), slots: [], keyring },
    clusterKey,
  })
  const epochs: number[] = []
  let unknown = false
  const hooked = afterSteps(store, async () => {
    epochs.push((await keys.refresh()).record.epoch)
    if (unknown) throw new Error("the answer was lost")
  })
  const keys = await Keys.open(hooked, clusterKey)
  await keys.change(() => ({ clusterKey: newClusterKey() }))
  await keys.change(() => ({ slots: [] }))
  unknown = true
  const last = newClusterKey()
  await expect(keys.change(() => ({ clusterKey: last }))).rejects.toThrow("lost")
  expect(epochs).toEqual([2, 3, 4])
  expect((await keys.refresh()).record.epoch).toBe(4)
  expect((await Keys.open(store, last)).view.record.epoch).toBe(4)
  await expect(Keys.open(store, clusterKey)).rejects.toMatchObject({ code: "RecordCorrupt" })
})
