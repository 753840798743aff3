import { setImmediate as nextTurn } from "node:timers/promises"
import { expect, test } from "vitest"
import { Expiry } from "./expiry.ts"

test("only the newest revision of an entry has a clock", () => {
  const running = new Map<number, () => void>()
  const expired: string[] = []
  let clocks = 0
  const expiry = new Expiry({
    schedule(run) {
      const id = clocks++
      running.set(id, run)
      return () => running.delete(id)
    },
    remove: async (key, revision) => expired.push(`${key} ${revision}`),
    warn: () => {},
  })
  expiry.track({ key: "a", revision: 5, ttlSeconds: 1 })
  expiry.track({ key: "a", revision: 3, ttlSeconds: 1 }) // found late, from an earlier process
  expiry.track({ key: "b", revision: 4, ttlSeconds: 1 })
  expiry.track({ key: "b", revision: 6, ttlSeconds: 1 })
  expiry.track({ key: "c", revision: 7, ttlSeconds: 1 })
  expiry.track({ key: "c", revision: 8, ttlSeconds: 0 })
  for (const run of running.values()) run()
  expect(expired).toEqual(["a 5", "b 6"])
  expiry.track({ key: "d", revision: 9, ttlSeconds: 1 })
  expiry.forget("d")
  expiry.track({ key: "e", revision: 10, ttlSeconds: 1 })
  expiry.clear()
  expect([...running.keys()]).toEqual([0, 2])
})

test("a removal that failed is told, and tried again, until the end", async () => {
  const waiting: { run: () => void; delayMs: number }[] = []
  const warned: string[] = []
  const expiry = new Expiry({
    schedule(run, delayMs) {
      waiting.push({ run, delayMs })
      return () => {}
    },
    remove: () => Promise.reject(new Error("no answer")),
    warn: (sentence) => warned.push(sentence),
  })
  const runNext = async () => {
    waiting.shift()?.run()
    await nextTurn()
  }
  expiry.track({ key: "a", revision: 5, ttlSeconds: 1 })
  await runNext()
  expect(warned).toEqual(["a could not be removed at the end of its life"])
  expect(waiting.map(({ delayMs }) => delayMs)).toEqual([10_000])
  const removal = runNext()
  expiry.close()
  await removal
  expiry.track({ key: "b", revision: 6, ttlSeconds: 1 })
  expect({ warned, waiting }).toMatchObject({ warned: [expect.anything()], waiting: [] })
})
