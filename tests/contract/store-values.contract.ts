import { expect } from "vitest"
import type { Check } from "./store.contract.ts"
import { bytes, create, done, failure, key, live, ROOT, remove, update } from "./store-helpers.ts"

export function valueContract(check: Check): void {
  check("a created value is read back with its revisions", async (store) => {
    const before = await store.revision()
    const revision = await create(store, "a", "one")
    expect(revision).toBeGreaterThan(before)
    expect(await store.get(key("a"))).toEqual({
      key: key("a"),
      value: bytes("one"),
      revision,
      createRevision: revision,
    })
    expect(await store.revision()).toBe(revision)
  })

  check("a missing key reads as nothing", async (store) => {
    const revision = await create(store, "a", "one")
    expect(await store.get(key("b"))).toBeUndefined()
    expect(await store.get(key("b"), revision)).toBeUndefined()
  })

  check("empty, binary and large values come back byte for byte", async (store) => {
    const large = Buffer.alloc(1_500_000, 7)
    const values = [Buffer.alloc(0), Buffer.from([0, 255, 0, 128, 10]), large]
    for (const [index, value] of values.entries()) {
      done(await store.create({ key: key(`v${index}`), value, fence: undefined }))
      const entry = await store.get(key(`v${index}`))
      expect(entry?.value.equals(value), `value ${index}`).toBe(true)
    }
  })

  check("the caller's buffer may change after the call", async (store) => {
    const value = bytes("before")
    const after = await store.revision()
    const created = store.create({ key: key("a"), value, fence: undefined })
    value.fill("x")
    done(await created)
    expect(await live(store)).toEqual({ a: "before" })
    for await (const [change] of store.watch({
      prefix: ROOT,
      after,
      signal: AbortSignal.timeout(5_000),
    })) {
      expect(change?.value?.toString()).toBe("before")
      break
    }
  })

  check("creating a live key conflicts and shows it", async (store) => {
    const revision = await create(store, "a", "one")
    const again = await store.create({ key: key("a"), value: bytes("two"), fence: undefined })
    expect(again).toMatchObject({
      outcome: "conflict",
      current: { key: key("a"), value: bytes("one"), revision },
    })
    expect(await live(store)).toEqual({ a: "one" })
    expect(await store.revision()).toBe(revision)
  })

  check("an update replaces the expected revision only", async (store) => {
    const first = await create(store, "a", "one")
    const second = await update(store, "a", { expected: first, text: "two" })
    const stale = { key: key("a"), value: bytes("three"), expected: first, fence: undefined }
    expect(await store.update(stale)).toMatchObject({
      outcome: "conflict",
      current: { value: bytes("two"), revision: second, createRevision: first },
    })
    expect(await live(store)).toEqual({ a: "two" })
  })

  check("an update or a delete of nothing conflicts with nothing", async (store) => {
    const nothing = { outcome: "conflict", current: undefined }
    const gone = await create(store, "gone", "x")
    await remove(store, "gone", gone)
    for (const name of ["never", "gone"]) {
      const write = { key: key(name), expected: gone, fence: undefined }
      expect(await store.update({ ...write, value: bytes("y") })).toEqual(nothing)
      expect(await store.delete(write)).toEqual(nothing)
    }
  })

  check("a delete removes the expected revision only", async (store) => {
    const first = await create(store, "a", "one")
    const second = await update(store, "a", { expected: first, text: "two" })
    const stale = await store.delete({ key: key("a"), expected: first, fence: undefined })
    expect(stale).toMatchObject({ outcome: "conflict", current: { revision: second } })
    const third = await remove(store, "a", second)
    expect(third).toBeGreaterThan(second)
    expect(await store.get(key("a"))).toBeUndefined()
    expect(await store.revision()).toBe(third)
  })

  check("a key created again after its delete begins a new life", async (store) => {
    const first = await create(store, "a", "one")
    await remove(store, "a", first)
    const again = await create(store, "a", "two")
    const next = await update(store, "a", { expected: again, text: "three" })
    const entry = await store.get(key("a"))
    expect(entry).toMatchObject({ createRevision: again, revision: next, value: bytes("three") })
  })

  check("of concurrent creates of one key exactly one wins", async (store) => {
    const writes = Array.from({ length: 16 }, (_, index) =>
      store.create({ key: key("a"), value: bytes(`${index}`), fence: undefined }),
    )
    const results = await Promise.all(writes)
    const winners = results.flatMap((result, index) => (result.outcome === "done" ? [index] : []))
    expect(winners).toHaveLength(1)
    expect(await live(store)).toEqual({ a: `${winners[0]}` })
    for (const result of results) {
      if (result.outcome !== "done") expect(result.outcome).toBe("conflict")
    }
  })

  check("of concurrent updates and deletes of one revision exactly one wins", async (store) => {
    const expected = await create(store, "a", "start")
    const writes = Array.from({ length: 16 }, (_, index) => {
      const write = { key: key("a"), expected, fence: undefined }
      return index % 4 === 0
        ? store.delete(write)
        : store.update({ ...write, value: bytes(`${index}`) })
    })
    const outcomes = (await Promise.all(writes)).map(({ outcome }) => outcome)
    expect(outcomes.filter((outcome) => outcome === "done")).toHaveLength(1)
    expect(outcomes.filter((outcome) => outcome === "conflict")).toHaveLength(15)
  })

  check("concurrent writes each get a revision of their own", async (store) => {
    const names = Array.from({ length: 200 }, (_, index) => `n${String(index).padStart(3, "0")}`)
    const revisions = await Promise.all(names.map((name) => create(store, name, name)))
    expect(new Set(revisions).size).toBe(200)
    const { entries } = await store.list({ prefix: ROOT })
    expect(entries.map((entry) => entry.revision)).toEqual(revisions)
  })

  check("a list holds exactly the keys that begin with its prefix, in key order", async (store) => {
    const names = ["a/1", "a/10", "a/2", "a.b/1", "a0/1", "A/1", "a", "b/1", "a/z", "a/y"]
    for (const name of names) await create(store, name, name)
    const listed = async (name: string): Promise<string[]> =>
      (await store.list({ prefix: key(name) })).entries.map((entry) => entry.value.toString())
    expect(await listed("a/")).toEqual(["a/1", "a/10", "a/2", "a/y", "a/z"])
    expect(await listed("a")).toEqual(["a", "a.b/1", "a/1", "a/10", "a/2", "a/y", "a/z", "a0/1"])
    expect(await listed("c")).toEqual([])
    expect(await store.count(key("a/"))).toBe(5)
    expect(await store.count(ROOT)).toBe(10)
  })

  check("a list in pages at one revision is blind to later writes", async (store) => {
    const names = Array.from({ length: 25 }, (_, index) => `p${String(index).padStart(2, "0")}`)
    for (const name of names) await create(store, name, name)
    const seen: string[] = []
    let page = await store.list({ prefix: ROOT, limit: 10 })
    const { revision } = page
    expect(page.remaining).toBe(15)
    const doomed = await store.get(key("p12"))
    await remove(store, "p12", doomed?.revision ?? 0)
    await create(store, "p115", "new")
    for (;;) {
      seen.push(...page.entries.map((entry) => entry.value.toString()))
      const after = page.entries.at(-1)?.key
      if (page.remaining === 0 || after === undefined) break
      page = await store.list({ prefix: ROOT, limit: 10, after, revision })
      expect(page.revision).toBe(revision)
      expect(page.remaining).toBe(Math.max(0, 25 - seen.length - 10))
    }
    expect(seen).toEqual(names)
  })

  check("a page that ends exactly with the range has nothing beyond it", async (store) => {
    for (const name of ["a", "b", "c"]) await create(store, name, name)
    expect(await store.list({ prefix: ROOT, limit: 3 })).toMatchObject({ remaining: 0 })
    expect(await store.list({ prefix: ROOT, limit: 2 })).toMatchObject({ remaining: 1 })
    const rest = await store.list({ prefix: ROOT, after: key("b"), limit: 2 })
    expect(rest.entries.map((entry) => entry.key)).toEqual([key("c")])
    const none = await store.list({ prefix: key("b"), after: key("c") })
    expect(none.entries).toEqual([])
    const all = await store.list({ prefix: key("b"), after: key("a") })
    expect(all.entries.map((entry) => entry.key)).toEqual([key("b")])
  })

  check("an entry with a time to live goes, one without stays", async (store) => {
    const after = await store.revision()
    const brief = { key: key("brief"), value: bytes("x"), fence: undefined, ttlSeconds: 1 }
    const revision = done(await store.create(brief))
    const kept = done(await store.create({ ...brief, key: key("kept") }))
    await update(store, "kept", { expected: kept, text: "for ever" })
    for await (const batch of store.watch({
      prefix: key("brief"),
      after,
      signal: AbortSignal.timeout(8_000),
    })) {
      if (batch.at(-1)?.type !== "delete") continue
      expect(batch.at(-1)?.revision).toBeGreaterThan(revision)
      expect(await live(store)).toEqual({ kept: "for ever" })
      return
    }
    throw new Error("the entry did not go")
  })

  check("a closed store refuses", async (store) => {
    await create(store, "a", "one")
    await store.close()
    expect(await failure(store.get(key("a")))).toBe("StoreUnavailable")
    expect(await failure(create(store, "b", "two"))).toBe("StoreUnavailable")
  })
}
