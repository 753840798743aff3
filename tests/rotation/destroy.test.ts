/** The destroying of a key through the real keyring and SQLite: it is valid under the fence of its proof alone. */
import { expect, test, vi } from "vitest"
import { KnownError } from "../../src/errors.ts"
import { destroyKey } from "../../src/rewriter/destroy.ts"
import { entryOf } from "../../src/rotation/history.ts"
import type { Store } from "../../src/store/store.ts"
import { CALLER } from "../harness/verbs.ts"
import { cluster } from "./cluster.ts"

const now = new Date("2026-11-28T12:00:00Z")
const entry = entryOf({
  id: "1",
  verb: "keys destroy",
  caller: CALLER,
  server: "server-1",
  target: "aescbckey",
  now,
})
const KEY = "/registry/secrets/default/s"

async function retired() {
  const all = await cluster()
  await all.take("enable")
  await all.run()
  await all.take("rotate-keys")
  await all.run()
  const { keys, store } = all
  const putBack = async () => {
    const value = keys.view.provider("aescbckey").seal(Buffer.from("k8s\0"), KEY)
    await store.create({ key: KEY, value, fence: keys.view.record.fence })
  }
  const destroy = (on: Store = store) =>
    destroyKey({ store: on, keys, entry, now: () => now }, "aescbckey")
  return { ...all, putBack, destroy }
}

/** The store, with `then` run once when the end of the rows was read. */
function afterCensus(store: Store, then: () => Promise<void>): Store {
  let isOver = false
  return new Proxy(store, {
    get(target, name) {
      if (name === "rows")
        return async (range: Parameters<Store["rows"]>[0]) => {
          const batch = await target.rows(range)
          if (batch.isLast && !isOver) {
            isOver = true
            await then()
          }
          return batch
        }
      const value: unknown = Reflect.get(target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })
}

test("where the fence moves after the proof it is made again, and holds no more", async () => {
  const { store, keys, take, run, putBack, destroy } = await retired()
  const onStore = afterCensus(store, async () => {
    await take("reencrypt", { force: true, skip: true })
    await run()
    await putBack()
  })
  await expect(destroy(onStore)).rejects.toMatchObject({
    code: "KeyInUse",
    message: `1 stored value needs the key "aescbckey": ${KEY}`,
  })
  const { keyring } = (await keys.refresh()).record
  expect(keyring.destroyed).toEqual([])
  expect(keyring.keys).toHaveLength(2)
})

test("where the fence moves and nothing needs the key it is destroyed all the same, once", async () => {
  const { store, keys, take, run, putBack, destroy } = await retired()
  const onStore = afterCensus(store, async () => {
    await take("reencrypt", { force: true, skip: true })
    await run()
  })
  const key = { name: "aescbckey", destroyed: now.toISOString() }
  expect(await destroy(onStore)).toMatchObject({ isNew: true, key })
  expect(await destroy()).toMatchObject({ isNew: false, key })
  expect((await keys.history()).filter(({ verb }) => verb === "keys destroy")).toEqual([entry])
  await expect(putBack()).rejects.toThrow('no key "aescbckey"')
})

const STANDS = 'the key "aescbckey" is destroyed, but the datastore\'s files may still hold'
test.each([
  [1, 'the key "aescbckey" is not destroyed: another process reads it', 0],
  [2, expect.stringContaining(STANDS), 1],
])(
  "a clearing that fails (%i) says whether the key is destroyed, and the next call clears",
  async (failing, message, gone) => {
    const { store, keys, destroy } = await retired()
    let scrubs = 0
    const scrub = store.scrub.bind(store)
    store.scrub = async (of) => {
      scrubs++
      if (scrubs === failing) throw new KnownError("StoreUnavailable", "another process reads it")
      await scrub(of)
    }
    await expect(destroy()).rejects.toMatchObject({ code: "StoreUnavailable", message })
    expect(keys.view.record.keyring.destroyed).toHaveLength(gone)
    expect(await destroy()).toMatchObject({ isNew: gone === 0 })
    expect(scrubs).toBe(3)
  },
)

test("while an operation runs no key is destroyed, for values that it rewrites have copies on their way", async () => {
  const { store, keys, take, run, destroy } = await retired()
  const onStore = afterCensus(store, async () => {
    await take("reencrypt", { force: true, skip: true })
  })
  for (const on of [onStore, store])
    await expect(destroy(on)).rejects.toMatchObject({ code: "RotationUnderWay" })
  expect((await keys.refresh()).record.keyring.destroyed).toEqual([])
  await run()
  expect(await destroy()).toMatchObject({ isNew: true })
})

test("what is refused clears nothing", async () => {
  const { store, putBack, destroy } = await retired()
  await putBack()
  const scrub = vi.spyOn(store, "scrub")
  await expect(destroy()).rejects.toMatchObject({ code: "KeyInUse" })
  expect(scrub).not.toHaveBeenCalled()
})
