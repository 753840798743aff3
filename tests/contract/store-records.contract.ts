import { expect } from "vitest"
import type { Check } from "./store.contract.ts"
import { bytes, create, key, live, setFence } from "./store-helpers.ts"

export function recordContract(check: Check): void {
  check("a record is absent, then put, then replaced at its version", async (store) => {
    expect(await store.record("keyring")).toBeUndefined()
    const compare = [{ name: "keyring", version: null }] as const
    const put = [{ name: "keyring", value: bytes("one") }] as const
    expect(await store.step({ compare: [...compare], put: [...put] })).toMatchObject({
      outcome: "done",
    })
    const first = await store.record("keyring")
    expect(first?.value).toEqual(bytes("one"))
    const again = await store.step({ compare: [...compare], put: [...put] })
    expect(again).toEqual({ outcome: "conflict" })
    const version = first?.version ?? ""
    const same = [{ name: "keyring", version }] as const
    await store.step({ compare: [...same], put: [...put] })
    const second = await store.record("keyring")
    expect(second?.value).toEqual(bytes("one"))
    expect(second?.version).not.toBe(version)
  })

  check("a step is all or nothing", async (store) => {
    await setFence(store, "f1")
    const put = [
      { name: "keyring", value: bytes("k") },
      { name: "operation", value: bytes("o") },
    ] as const
    const absent = { name: "keyring", version: null } as const
    const wrong = { name: "operation", version: "no such version" } as const
    const conflict = { outcome: "conflict" }
    const steps = [
      { compare: [absent, wrong], put: [...put] },
      { compare: [absent], put: [...put], fence: { expected: "other", next: "f2" } },
      { compare: [absent], put: [...put], fence: { expected: null, next: "f2" } },
      { compare: [wrong], fence: { expected: "f1", next: "f2" } },
    ]
    for (const step of steps) expect(await store.step(step)).toEqual(conflict)
    expect(await store.record("keyring")).toBeUndefined()
    expect(await store.record("operation")).toBeUndefined()
    expect(await store.fence()).toBe("f1")
    const step = { compare: [absent], put: [...put], fence: { expected: "f1", next: "f2" } }
    expect((await store.step(step)).outcome).toBe("done")
    expect((await store.record("keyring"))?.value).toEqual(bytes("k"))
    expect((await store.record("operation"))?.value).toEqual(bytes("o"))
    expect(await store.fence()).toBe("f2")
  })

  check("of concurrent steps at one version exactly one wins", async (store) => {
    const steps = Array.from({ length: 8 }, (_, index) =>
      store.step({
        compare: [{ name: "keyring", version: null }],
        put: [{ name: "keyring", value: bytes(`${index}`) }],
      }),
    )
    const outcomes = (await Promise.all(steps)).map(({ outcome }) => outcome)
    expect(outcomes.filter((outcome) => outcome === "done")).toHaveLength(1)
    expect(outcomes.indexOf("done")).toBe(Number((await store.record("keyring"))?.value))
  })

  const move = { compare: [], fence: { expected: null, next: "f1" } }

  check("a step tells the newest revision", async (store) => {
    const before = await create(store, "a", "one")
    const moved = await store.step(move)
    if (moved.outcome !== "done") throw new Error("the fence did not move")
    expect(moved.revision).toBeGreaterThanOrEqual(before)
    expect(moved.revision).toBe(await store.revision())
    expect(await create(store, "b", "two")).toBeGreaterThan(moved.revision)
  })

  check("a step makes no revision", async (store) => {
    const revision = await create(store, "a", "one")
    expect(await store.step(move)).toEqual({ outcome: "done", revision })
  })

  check("a write under a fence is kept out where none or another is stored", async (store) => {
    const fenced = { outcome: "fenced" }
    const plain = await create(store, "plain", "x")
    const attempts = async (fence: string): Promise<unknown[]> => [
      await store.create({ key: key("new"), value: bytes("y"), fence }),
      await store.update({ key: key("plain"), value: bytes("y"), expected: plain, fence }),
      await store.delete({ key: key("plain"), expected: plain, fence }),
    ]
    expect(await attempts("f1")).toEqual([fenced, fenced, fenced])
    await setFence(store, "f1")
    await setFence(store, "f2")
    expect(await attempts("f1")).toEqual([fenced, fenced, fenced])
    expect(await live(store)).toEqual({ plain: "x" })
    expect(await attempts("f2")).toMatchObject([
      { outcome: "done" },
      { outcome: "done" },
      { outcome: "conflict" },
    ])
  })

  check(
    "no write under the old fence has a revision above the step that moved it",
    async (store) => {
      await setFence(store, "f1")
      const writes = Array.from({ length: 60 }, async (_, index) => {
        for (let turn = 0; turn < index % 6; turn += 1) await new Promise(setImmediate)
        return store.create({ key: key(`w${index}`), value: bytes("x"), fence: "f1" })
      })
      await new Promise(setImmediate)
      const step = { compare: [], fence: { expected: "f1", next: "f2" } }
      const moved = await store.step(step)
      if (moved.outcome !== "done") throw new Error("the fence did not move")
      for (const result of await Promise.all(writes)) {
        if (result.outcome === "done") expect(result.revision).toBeLessThanOrEqual(moved.revision)
        else expect(result).toEqual({ outcome: "fenced" })
      }
    },
  )

  check("a watch of the records wakes after a step and ends with its signal", async (store) => {
    const stop = new AbortController()
    const seen: string[] = []
    const watching = (async () => {
      const wakes = store.watchRecords(stop.signal)[Symbol.asyncIterator]()
      while (!(await wakes.next()).done) {
        const value = (await store.record("keyring"))?.value.toString()
        if (value !== undefined) seen.push(value)
        if (value === "two") stop.abort()
      }
    })()
    for (const value of ["one", "two"]) {
      const version = (await store.record("keyring"))?.version ?? null
      await new Promise((resolve) => setTimeout(resolve, 20))
      const put = [{ name: "keyring", value: bytes(value) }] as const
      await store.step({ compare: [{ name: "keyring", version }], put: [...put] })
    }
    await watching
    expect(seen.at(-1)).toBe("two")
  })
}
