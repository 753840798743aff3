/** Abort through the real keyring, registry, rewriter and SQLite, at chosen moments of a rewrite. */
import { expect, test } from "vitest"
import { census, countsOf } from "../../src/rewriter/census.ts"
import type { Store } from "../../src/store/store.ts"
import { cluster, secret, SECRETS } from "./cluster.ts"

const COUNT = 25
/** Of the first batch of ten rows, of which one is the health row. */
const MOVED = 9
const names = Array.from({ length: COUNT }, (_, i) => `s${i}`)
const refTo = (name: string) => ({ namespace: "default", name })

async function filled() {
  const all = await cluster()
  const { keys, registry, take, run } = all
  await take("enable")
  await run()
  for (const name of names) await registry.create(SECRETS, refTo(name), secret(name, name))
  const readable = async () => {
    for (const name of names) {
      const found = await registry.get(SECRETS, refTo(name))
      expect(found?.object.data, name).toEqual(secret(name, name).data)
    }
  }
  const counts = async () => [...countsOf(await census(all.store, keys.view)).values()]
  return { ...all, readable, counts }
}

/** The store with small batches, and with `meet` called before what it names. */
const meeting = (
  store: Store,
  meet: Partial<Record<"rewrite" | "retire", () => Promise<unknown>>>,
) =>
  new Proxy(store, {
    get(target, name) {
      if (name === "rows")
        return (range: Parameters<Store["rows"]>[0]) => target.rows({ ...range, limit: 10 })
      if (name === "rewrite")
        return async (...args: Parameters<Store["rewrite"]>) => {
          await meet.rewrite?.()
          return target.rewrite(...args)
        }
      if (name === "step")
        return async (step: Parameters<Store["step"]>[0]) => {
          if (step.put?.some((record) => record.name === "keyring")) await meet.retire?.()
          return target.step(step)
        }
      const value: unknown = Reflect.get(target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })

test("abort in the middle of a rewrite: all stays readable, and the next rotation proves both keys away", async () => {
  const { store, keys, registry, take, run, runOn, readable, counts } = await filled()
  await take("rotate-keys")
  let batches = 0
  let aborting: Promise<unknown> | undefined
  const rewrite = async () => {
    if (batches++ > 0) await (aborting ??= take("abort"))
  }
  expect(await runOn(meeting(store, { rewrite }))).toMatchObject({ state: "aborted", retired: [] })
  // The third was begun while the second was under way.
  expect(batches).toBe(3)
  const { keyring } = keys.view.record
  expect(keyring).toMatchObject({ writer: "aescbckey", stage: "start" })
  expect(keyring.keys.map(({ state }) => state)).toEqual(["active", "active"])
  expect(await counts()).toEqual([MOVED, COUNT - MOVED])
  await readable()
  await registry.create(SECRETS, refTo("after"), secret("after", "x"))
  expect(await counts()).toEqual([MOVED, COUNT - MOVED + 1])
  expect(await take("abort")).toBeUndefined()
  const [, rotation, abort, ...more] = await keys.history()
  expect(rotation).toMatchObject({ outcome: "aborted", endedBy: abort?.id, proof: null })
  expect(abort).toMatchObject({ verb: "abort", target: "aescbckey", outcome: "finished" })
  expect(more).toEqual([])

  await take("rotate-keys")
  const retired = keyring.keys.map(({ name }) => name)
  expect(await run()).toMatchObject({ state: "finished", retired, kept: {} })
  expect(await counts()).toEqual([0, 0, COUNT + 1])
  await readable()
})

test("an abort that meets the retirement wins whole where it commits first", async () => {
  const { store, keys, take, runOn, readable, counts } = await filled()
  await take("rotate-keys")
  const retire = () => take("abort")
  expect(await runOn(meeting(store, { retire }))).toMatchObject({ state: "aborted", retired: [] })
  const { keyring } = keys.view.record
  expect(keyring).toMatchObject({ writer: "aescbckey", stage: "start", wayBack: "gone" })
  expect(keyring.keys.map(({ state }) => state)).toEqual(["active", "active"])
  expect(await counts()).toEqual([COUNT, 0])
  await readable()
})

test("a retirement that meets an abort wins whole where it commits first", async () => {
  const { store, keys, take, takeOn, run, readable } = await filled()
  await take("rotate-keys")
  const retire = async () => void (await run())
  await expect(takeOn(meeting(store, { retire }), "abort")).rejects.toMatchObject({
    code: "WrongStage",
  })
  await keys.refresh()
  const { keyring } = keys.view.record
  expect(keyring).toMatchObject({ stage: "reencrypt_finished", wayBack: null })
  expect(keyring.keys.map(({ state }) => state)).toEqual(["archived", "active"])
  await readable()
})

test("plain text that enable had not come to when it was taken over is encrypted after an abort too", async () => {
  const { store, keys, registry, take, run } = await cluster()
  await registry.create(SECRETS, refTo("plain"), secret("plain", "x"))
  await take("enable")
  await take("rotate-keys")
  await take("abort")
  expect(await run()).toMatchObject({ kind: "reencrypt", state: "finished", retires: false })
  expect([...countsOf(await census(store, keys.view))].at(-1)).toEqual(["aescbckey", 1])
  expect(keys.view.record.keyring.stage).toBe("start")
})
