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

const now = new Date(0)
const authority = { cert: "", key: "" }

test("a datastore that lost its keyring is told as such", async () => {
  const opened = Keys.open(store, newClusterKey())
  await expect(opened).rejects.toMatchObject({ code: "RecordCorrupt" })
})

test("the keyring is readable at every moment of a change of the cluster key, also when its outcome is unknown", async () => {
  const clusterKey = newClusterKey()
  const keyring = emptyKeyring({ server: authority, client: authority }, { password: "pw" })
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
  await keys.change("change-token", () => ({ clusterKey: newClusterKey() }))
  await keys.change("change-token", () => ({ slots: [] }))
  unknown = true
  const last = newClusterKey()
  await expect(keys.change("change-token", () => ({ clusterKey: last }))).rejects.toThrow("lost")
  expect(epochs).toEqual([2, 3, 4])
  expect((await keys.refresh()).record.epoch).toBe(4)
  expect((await Keys.open(store, last)).view.record.epoch).toBe(4)
  await expect(Keys.open(store, clusterKey)).rejects.toMatchObject({ code: "RecordCorrupt" })
})

/** A store with a keyring of its own, and the cluster key. */
async function newStore(name: string) {
  const own = openSqlite({ path: join(dir, `${name}.db`), warn: () => {} })
  const clusterKey = newClusterKey()
  const keyring = emptyKeyring({ server: authority, client: authority }, { password: "first" })
  await createKeyring(own, {
    record: { epoch: 1, fence: newFence(), slots: [], keyring },
    clusterKey,
  })
  return { own, clusterKey }
}

test("a server with a slot of its own follows changes of the cluster key by another one; one without does not", async () => {
  const { own, clusterKey } = await newStore("follow")
  const [a, b, without] = [
    await Keys.open(own, clusterKey),
    await Keys.open(own, clusterKey),
    await Keys.open(own, clusterKey),
  ]
  await b.enroll("b", { now })
  for (const password of ["second", "third"]) {
    await a.change("change-token", ({ record: { keyring } }) => ({
      clusterKey: newClusterKey(),
      keyring: { ...keyring, password },
    }))
    expect((await b.refresh()).record.keyring.password).toBe(password)
    await expect(without.refresh()).rejects.toMatchObject({ code: "RecordCorrupt" })
  }
  // And goes on from there: its own change is read by the other.
  await a.enroll("a", { now })
  await b.change("change-token", ({ record: { keyring } }) => ({
    clusterKey: newClusterKey(),
    keyring: { ...keyring, password: "fourth" },
  }))
  expect((await a.refresh()).record.keyring.password).toBe("fourth")
  await own.close()
})

test("a slot stands until a server of its name starts, and the last 32 are kept", async () => {
  const { own, clusterKey } = await newStore("names")
  const names = async () => (await Keys.open(own, clusterKey)).view.record.slots.map(({ id }) => id)
  const first = await Keys.open(own, clusterKey)
  await first.enroll("a", { now })
  const { epoch } = first.view.record
  await first.enroll("a", { now })
  expect(first.view.record.epoch).toBe(epoch)
  const again = await Keys.open(own, clusterKey)
  await again.enroll("a", { now })
  expect(again.view.record.epoch).toBe(epoch + 1)
  await first.refresh()
  // Two servers of one name both go on, and do not take it from each other for ever.
  await first.enroll("a", { now })
  await again.enroll("a", { now })
  await first.enroll("a", { now })
  expect(first.view.record.epoch).toBe(epoch + 2)
  expect(await names()).toEqual(["a", "a"])
  for (let n = 1; n <= 32; n++) await (await Keys.open(own, clusterKey)).enroll(`s${n}`, { now })
  expect(await names()).toEqual(Array.from({ length: 32 }, (_, n) => `s${n + 1}`))
  await again.refresh()
  // One that had a place leaves them to those that came later: else the two would take it from each other for ever.
  await again.enroll("a", { now })
  expect(await names()).toEqual(Array.from({ length: 32 }, (_, n) => `s${n + 1}`))
  await own.close()
})

test("of two refreshes the answer that was overtaken changes nothing", async () => {
  const { own, clusterKey } = await newStore("overtaken")
  const held: (() => void)[] = []
  let isHeld = false
  const slow = new Proxy(own, {
    get(target, name) {
      if (name === "record" && isHeld)
        return async (record: "keyring") => {
          const found = await target.record(record)
          await new Promise<void>((resolve) => held.push(resolve))
          return found
        }
      const value: unknown = Reflect.get(target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })
  const keys = await Keys.open(slow, clusterKey)
  isHeld = true
  const early = keys.refresh()
  await new Promise(setImmediate)
  isHeld = false
  await (await Keys.open(own, clusterKey)).enroll("other", { now })
  expect((await keys.refresh()).record.epoch).toBe(2)
  for (const go of held) go()
  expect((await early).record.epoch).toBe(2)
  expect(keys.view.record.epoch).toBe(2)
  await own.close()
})

// Found by the simulator: an etcd that was put back comes to the same version again, with another keyring.
test("a keyring that stands at the version of the one before is read all the same", async () => {
  const { own, clusterKey } = await newStore("version")
  const atOneVersion = new Proxy(own, {
    get(target, name) {
      if (name === "record")
        return async (record: "keyring") => {
          const found = await target.record(record)
          return found && { ...found, version: "1/7" }
        }
      const value: unknown = Reflect.get(target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })
  const keys = await Keys.open(atOneVersion, clusterKey)
  const { epoch } = keys.view.record
  await (await Keys.open(own, clusterKey)).change("change-token", () => ({ slots: [] }))
  expect((await keys.refresh()).record.epoch).toBe(epoch + 1)
  await own.close()
})
