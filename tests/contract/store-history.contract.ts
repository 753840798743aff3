import { expect } from "vitest"
import { allRows as readRows } from "../../src/rewriter/census.ts"
import { BATCH_BYTES_MAX } from "../../src/store/kine.ts"
import type { Row } from "../../src/store/store.ts"
import type { Check } from "./store.contract.ts"
import {
  allRows,
  bytes,
  create,
  failure,
  key,
  live,
  ROOT,
  remove,
  setFence,
  update,
  watched,
} from "./store-helpers.ts"

export function historyContract(check: Check): void {
  check("every past revision reads as it was", async (store) => {
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    const three = await create(store, "b", "bee")
    const four = await remove(store, "a", two)
    const five = await create(store, "a", "five")
    expect(await live(store, one)).toEqual({ a: "one" })
    expect(await live(store, two)).toEqual({ a: "two" })
    expect(await live(store, three)).toEqual({ a: "two", b: "bee" })
    expect(await live(store, four)).toEqual({ b: "bee" })
    expect(await live(store, five)).toEqual({ a: "five", b: "bee" })
    expect(await store.get(key("a"), two)).toMatchObject({
      revision: two,
      createRevision: one,
      value: bytes("two"),
    })
    expect(await store.get(key("a"), four)).toBeUndefined()
    expect(await store.get(key("b"), two)).toBeUndefined()
  })

  check("a revision that is not reached is refused", async (store) => {
    const revision = (await create(store, "a", "one")) + 1
    expect(await failure(store.get(key("a"), revision))).toBe("FutureRevision")
    expect(await failure(store.list({ prefix: ROOT, revision }))).toBe("FutureRevision")
    expect(await failure(store.compact(revision))).toBe("FutureRevision")
  })

  check("rows are the whole history in order, tombstones included", async (store) => {
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    const three = await remove(store, "a", two)
    const four = await create(store, "a", "four")
    const rows = await allRows(store, 2)
    const ours = rows.filter((row) => row.key === key("a"))
    const [first, second] = [bytes("one"), bytes("two")]
    expect(ours).toEqual([
      { revision: one, key: key("a"), value: first, previous: undefined },
      { revision: two, key: key("a"), value: second, previous: first },
      { revision: three, key: key("a"), value: undefined, previous: second },
      { revision: four, key: key("a"), value: bytes("four"), previous: undefined },
    ])
    const { cursor } = await store.rows({ cursor: "", upTo: one, limit: 10 })
    const next = await store.rows({ cursor, upTo: three, limit: 10 })
    expect(next.rows).toEqual(ours.slice(1, 3))
    const short = await store.rows({ cursor, upTo: three, limit: 1 })
    expect(short.rows).toEqual(ours.slice(1, 2))
    expect(await store.countRows({ cursor, upTo: three })).toBe(2)
    expect(await store.countRows({ cursor: short.cursor, upTo: three })).toBe(1)
    expect(await store.countRows({ cursor: "", upTo: four })).toBe(rows.length)
  })

  check("a batch says that it is the last one only where nothing is behind it", async (store) => {
    const large = "x".repeat(BATCH_BYTES_MAX / 8)
    for (let n = 0; n < 10; n++) await create(store, `large-${n}`, large)
    const { length: count } = await allRows(store)
    for (const query of [{ limit: count + 1 }, { limit: count }, { limit: 2, headBytes: 8 }]) {
      let [cursor, read, isLast] = ["", 0, false]
      while (!isLast) {
        const batch = await store.rows({ ...query, cursor })
        read += batch.rows.length
        isLast = batch.isLast ?? batch.rows.length === 0
        cursor = batch.cursor
      }
      expect(read).toBe(count)
    }
  })

  check("who reads all rows comes to an end though new ones come as fast", async (store) => {
    for (let n = 0; n < 5; n++) await create(store, `early-${n}`, "1")
    let late = 0
    for await (const { rows } of readRows(store, { cursor: "" }, { limit: () => 2 })) {
      expect(rows.length).toBeGreaterThan(0)
      expect(late).toBeLessThan(100)
      await create(store, `late-${late++}`, "1")
    }
  })

  check("rows that need nothing may be left out, and no others", async (store) => {
    const revisions = [await create(store, "a", "old-1")]
    for (const text of ["old-2", "new-3", "new-4", "new-5", "old-6"])
      revisions.push(await update(store, "a", { expected: revisions.at(-1) ?? 0, text }))
    revisions.push(await remove(store, "a", revisions.at(-1) ?? 0))
    const all = await allRows(store)
    const others = all.filter(({ value, previous }) =>
      [value, previous].some((stored) => stored && !stored.toString().startsWith("new-")),
    )
    for (const limit of [1, 3, 100]) {
      const rows: Row[] = []
      let leftOut = 0
      for (let cursor = ""; ; ) {
        const batch = await store.rows({ cursor, limit, except: bytes("new-") })
        const count = batch.rows.length + (batch.leftOut ?? 0)
        expect(count).toBeLessThanOrEqual(limit)
        if (count === 0) break
        rows.push(...batch.rows)
        leftOut += batch.leftOut ?? 0
        cursor = batch.cursor
      }
      expect(rows).toEqual(expect.arrayContaining(others))
      expect(rows.length + leftOut).toBe(all.length)
    }
  })

  check("what rows hold may be cut, but not before the bytes asked for", async (store) => {
    const one = await create(store, "a", "one-and-more")
    await remove(store, "a", await update(store, "a", { expected: one, text: "1" }))
    const whole = await allRows(store)
    const { rows } = await store.rows({ cursor: "", limit: 100, headBytes: 3 })
    expect(rows.map(({ revision }) => revision)).toEqual(whole.map(({ revision }) => revision))
    for (const [at, row] of rows.entries())
      for (const column of ["value", "previous"] as const) {
        const stored = whole[at]?.[column]
        expect(row[column]?.subarray(0, 3)).toEqual(stored?.subarray(0, 3))
      }
  })

  check(
    "what begins alike may be cut behind that, and what does not is told as far as asked for",
    async (store) => {
      const one = await create(store, "a", "one-and-more")
      await remove(store, "a", await update(store, "a", { expected: one, text: "on" }))
      const whole = await allRows(store)
      const common = bytes("one-")
      const { rows } = await store.rows({ cursor: "", limit: 100, headBytes: 8, common })
      expect(rows.map(({ revision }) => revision)).toEqual(whole.map(({ revision }) => revision))
      for (const [at, row] of rows.entries())
        for (const column of ["value", "previous"] as const) {
          const stored = whole[at]?.[column]
          const length = stored?.subarray(0, 4).equals(common) ? 4 : 8
          expect(row[column]?.subarray(0, length)).toEqual(stored?.subarray(0, length))
        }
    },
  )

  check("rewriting replaces bytes in place, without a revision or an event", async (store) => {
    await setFence(store, "f1")
    const after = await store.revision()
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    const a = { key: key("a") }
    const result = await store.rewrite("f1", [
      { ...a, revision: one, column: "value", expected: bytes("one"), replacement: bytes("ONE!") },
      {
        ...a,
        revision: two,
        column: "previous",
        expected: bytes("one"),
        replacement: bytes("ONE!"),
      },
      { ...a, revision: two, column: "value", expected: bytes("two"), replacement: bytes("TWO!") },
    ])
    expect(result).toEqual({ outcome: "done", replaced: 3 })
    expect(await store.revision()).toBe(two)
    expect(await store.get(key("a"))).toMatchObject({ revision: two, value: bytes("TWO!") })
    expect((await store.get(key("a"), one))?.value).toEqual(bytes("ONE!"))
    const changes = await watched(store, { after, count: 2 })
    expect(changes).toEqual([
      { type: "create", key: key("a"), revision: one, value: bytes("ONE!") },
      {
        type: "update",
        key: key("a"),
        revision: two,
        value: bytes("TWO!"),
        previous: bytes("ONE!"),
      },
    ])
  })

  check("rewriting passes over what is not there", async (store) => {
    await setFence(store, "f1")
    const one = await create(store, "a", "one")
    const two = await create(store, "b", "two")
    const gone = await create(store, "gone", "one")
    await remove(store, "gone", gone)
    await store.compact(await store.revision())
    const missing = (await store.revision()) + 100
    const written = { column: "value", expected: bytes("one"), replacement: bytes("x") } as const
    const result = await store.rewrite("f1", [
      { ...written, key: key("a"), revision: one, column: "previous" },
      { ...written, key: key("a"), revision: missing },
      { ...written, key: key("gone"), revision: gone },
      { ...written, key: key("b"), revision: two, expected: bytes("two") },
    ])
    expect(result).toEqual({ outcome: "done", replaced: 1 })
    expect(await live(store)).toEqual({ a: "one", b: "x" })
  })

  check(
    "rewriting in place compares the bytes, for others may have rewritten them",
    async (store) => {
      await setFence(store, "f1")
      const revision = await create(store, "a", "one")
      const [expected, replacement] = [bytes("other"), bytes("x")]
      const result = await store.rewrite("f1", [
        { key: key("a"), revision, column: "value", expected, replacement },
      ])
      expect(result).toEqual({ outcome: "done", replaced: 0 })
      expect(await live(store)).toEqual({ a: "one" })
    },
  )

  check(
    "many values are rewritten in one call, and what changed meanwhile is not",
    async (store) => {
      await setFence(store, "f1")
      const names = Array.from({ length: 300 }, (_, index) => `n${index}`)
      await Promise.all(names.map((name) => create(store, name, name)))
      const { entries } = await store.list({ prefix: ROOT })
      const changed = entries.filter((_, index) => index % 50 === 7)
      const newer = changed.map((entry) => entry.key.slice(ROOT.length))
      await Promise.all(
        changed.map(({ revision }, index) =>
          update(store, newer[index] ?? "", { expected: revision, text: "newer" }),
        ),
      )
      await store.compact(await store.revision())
      const result = await store.rewrite(
        "f1",
        entries.map((entry) => ({
          key: entry.key,
          revision: entry.revision,
          column: "value" as const,
          expected: entry.value,
          replacement: Buffer.concat([entry.value, bytes("!")]),
        })),
      )
      expect(result).toEqual({ outcome: "done", replaced: 294 })
      const now = await live(store)
      for (const name of names) {
        expect(now[name]).toBe(newer.includes(name) ? "newer" : `${name}!`)
      }
    },
  )

  check("rewriting under another fence replaces nothing", async (store) => {
    const revision = await create(store, "a", "one")
    const replacement = {
      key: key("a"),
      revision,
      column: "value",
      expected: bytes("one"),
      replacement: bytes("x"),
    } as const
    expect(await store.rewrite("f1", [replacement])).toEqual({ outcome: "fenced" })
    await setFence(store, "f1")
    await setFence(store, "f2")
    expect(await store.rewrite("f1", [replacement])).toEqual({ outcome: "fenced" })
    expect(await live(store)).toEqual({ a: "one" })
  })

  check("scrubbing changes nothing that can be read", async (store) => {
    const one = await create(store, "a", "one")
    await update(store, "a", { expected: one, text: "two" })
    const rows = await allRows(store)
    await store.scrub()
    expect(await allRows(store)).toEqual(rows)
    expect(await create(store, "b", "bee")).toBeGreaterThan(rows.at(-1)?.revision ?? 0)
  })
}

export function compactionContract(check: Check): void {
  check("compaction forgets what was replaced and keeps what lives", async (store) => {
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    const gone = await create(store, "gone", "x")
    const tombstone = await remove(store, "gone", gone)
    const last = await create(store, "b", "bee")
    await store.compact(tombstone)
    expect(await store.compactedRevision()).toBe(tombstone)
    expect(await store.revision()).toBe(last)
    expect(await live(store)).toEqual({ a: "two", b: "bee" })
    expect(await live(store, tombstone)).toEqual({ a: "two" })
    const rows = (await allRows(store)).filter((row) => row.key.startsWith(ROOT))
    expect(rows.map((row) => row.revision)).toEqual([two, last])
  })

  check(
    "the newest revision stays the newest, also where its own row is forgotten",
    async (store) => {
      const one = await create(store, "a", "one")
      const last = await remove(store, "a", one)
      await store.compact(last)
      expect(await store.revision()).toBe(last)
      expect((await store.list({ prefix: ROOT })).revision).toBe(last)
      const watching = watched(store, { after: last, count: 1 })
      const next = await create(store, "b", "bee")
      expect(next).toBeGreaterThan(last)
      expect((await watching).map(({ revision }) => revision)).toEqual([next])
      await store.compact(next)
      const rows = (await allRows(store)).filter((row) => row.key.startsWith(ROOT))
      expect(rows.map((row) => row.revision)).toEqual([next])
    },
  )

  check("what is older than the compacted revision is refused", async (store) => {
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    await store.compact(two)
    expect(await failure(store.get(key("a"), one))).toBe("Compacted")
    expect(await failure(store.list({ prefix: ROOT, revision: one }))).toBe("Compacted")
    expect(await failure(watched(store, { after: one, count: 1 }))).toBe("Compacted")
    expect((await store.get(key("a"), two))?.value).toEqual(bytes("two"))
  })

  check("compaction to an older revision does nothing", async (store) => {
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    await store.compact(two)
    await store.compact(one)
    await store.compact(two)
    const three = await update(store, "a", { expected: two, text: "three" })
    const four = await update(store, "a", { expected: three, text: "four" })
    await Promise.all([store.compact(four), store.compact(three)])
    expect(await store.compactedRevision()).toBe(four)
    expect(await live(store)).toEqual({ a: "four" })
  })

  check("a compacted key can be created, changed and deleted again", async (store) => {
    const one = await create(store, "a", "one")
    await store.compact(await remove(store, "a", one))
    const two = await create(store, "a", "two")
    const three = await update(store, "a", { expected: two, text: "three" })
    await store.compact(three)
    await store.compact(await remove(store, "a", three))
    await create(store, "a", "four")
    expect(await live(store)).toEqual({ a: "four" })
  })

  check("compaction of a long history leaves every live entry", async (store) => {
    const names = Array.from({ length: 40 }, (_, index) => `n${index}`)
    const revisions = await Promise.all(names.map((name) => create(store, name, "0")))
    for (let round = 1; round <= 60; round += 1) {
      const updates = names.map((name, index) =>
        update(store, name, { expected: revisions[index] ?? 0, text: `${round}` }),
      )
      revisions.splice(0, names.length, ...(await Promise.all(updates)))
    }
    const compacting = store.compact(await store.revision())
    const during = create(store, "during", "x")
    await Promise.all([compacting, during])
    const rows = (await allRows(store)).filter((row) => row.key.startsWith(ROOT))
    const newest = [...revisions, await during].toSorted((a, b) => a - b)
    expect(rows.map((row) => row.revision).toSorted((a, b) => a - b)).toEqual(newest)
    expect(new Set(Object.values(await live(store)))).toEqual(new Set(["60", "x"]))
  })
}
