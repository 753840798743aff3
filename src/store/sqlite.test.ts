import {
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { storeContract } from "../../tests/contract/store.contract.ts"
import {
  allRows,
  bytes,
  create,
  done,
  failure,
  key,
  live,
  ROOT,
  remove,
  setFence,
  update,
} from "../../tests/contract/store-helpers.ts"
import { openSqlite, type SqliteOptions } from "./sqlite.ts"
import type { Replacement, Store } from "./store.ts"

storeContract("sqlite", async () => {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-store-"))
  const store = openSqlite({ path: join(folder, "state.db") })
  const cleanup = async (): Promise<void> => {
    await store.close()
    rmSync(folder, { recursive: true })
  }
  return { store, cleanup }
})

describe("sqlite beyond the contract", () => {
  let folder: string
  let path: string
  let store: Store
  const reopen = async (options: Partial<SqliteOptions> = {}): Promise<void> => {
    await store.close()
    store = openSqlite({ path, ...options })
  }
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "keyturn-store-"))
    path = join(folder, "state.db")
    store = openSqlite({ path })
  })
  afterEach(async () => {
    await store.close()
    rmSync(folder, { recursive: true })
  })

  const kineRows = (): string[] => {
    const db = new DatabaseSync(path, { readOnly: true })
    const rows = db.prepare("SELECT * FROM kine WHERE id > 2 ORDER BY id").all()
    db.close()
    const shown = (value: unknown): string =>
      value instanceof Uint8Array ? `'${Buffer.from(value).toString()}'` : String(value)
    return rows.map((row) => Object.values(row).map(shown).join(" "))
  }

  test("the rows are kine's, column by column", async () => {
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    const three = await update(store, "a", { expected: two, text: "three" })
    const four = await remove(store, "a", three)
    const five = await create(store, "a", "")
    const six = await update(store, "a", { expected: five, text: "six" })
    const brief = { key: key("b"), value: bytes("b"), fence: undefined, ttlSeconds: 3600 }
    await remove(store, "b", done(await store.create(brief)))
    expect([one, two, three, four, five, six]).toEqual([3, 4, 5, 6, 7, 8])
    // id name created deleted create_revision prev_revision lease value old_value
    expect(kineRows()).toEqual([
      `3 ${key("a")} 1 0 0 0 0 'one' null`,
      `4 ${key("a")} 0 0 3 3 0 'two' 'one'`,
      `5 ${key("a")} 0 0 3 4 0 'three' 'two'`,
      `6 ${key("a")} 0 1 0 5 0 null 'three'`,
      `7 ${key("a")} 1 0 0 6 0 '' null`,
      `8 ${key("a")} 0 0 7 7 0 'six' ''`,
      `9 ${key("b")} 1 0 0 0 3600 'b' null`,
      `10 ${key("b")} 0 1 0 9 0 null 'b'`,
    ])
  })

  test("everything is there after closing and opening", async () => {
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    await setFence(store, "f1")
    const put = [{ name: "keyring", value: bytes("k") }] as const
    await store.step({ compare: [], put: [...put] })
    const record = await store.record("keyring")
    await reopen()
    expect(await live(store)).toEqual({ a: "two" })
    expect(await live(store, one)).toEqual({ a: "one" })
    expect(await store.fence()).toBe("f1")
    expect(await store.record("keyring")).toEqual(record)
    expect(await create(store, "b", "x")).toBeGreaterThan(two)
  })

  test("a revision is never given twice, even after its row was compacted", async () => {
    const tombstone = await remove(store, "a", await create(store, "a", "one"))
    await store.compact(tombstone)
    await store.scrub()
    await reopen()
    expect(await create(store, "b", "x")).toBe(tombstone + 1)
  })

  test("keys beyond ASCII are listed in the order of their bytes", async () => {
    const names = ["\u{e000}", "\u{10000}", "é", "z", "\ud7ff", "\u{10ffff}"]
    for (const name of names) await create(store, `p${name}x`, name)
    const { entries } = await store.list({ prefix: key("p") })
    const sorted = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    expect(entries.map(({ value }) => value.toString())).toEqual(sorted)
    for (const name of names) {
      const one = await store.list({ prefix: key(`p${name}`) })
      expect(one.entries.map(({ value }) => value.toString())).toEqual([name])
    }
  })

  test.each<[string, () => void]>([
    ["moved away", () => renameSync(path, `${path}.away`)],
    ["deleted", () => rmSync(path)],
    ["replaced", () => renameSync(`${path}.other`, path)],
    ["left without its log", () => rmSync(`${path}-wal`)],
  ])("a file that was %s is read on and takes nothing more, which is said", async (_, change) => {
    await openSqlite({ path: `${path}.other` }).close()
    await setFence(store, "f1")
    const one = await create(store, "a", "one")
    change()
    const write = store.create({ key: key("b"), value: bytes("two"), fence: undefined })
    await expect(write).rejects.toThrow(/was moved, deleted or replaced/)
    expect(await failure(update(store, "a", { expected: one, text: "two" }))).toBe(
      "StoreUnavailable",
    )
    expect(await failure(store.rewrite("f1", []))).toBe("StoreUnavailable")
    expect(await failure(store.scrub())).toBe("StoreUnavailable")
    expect(await failure(store.snapshot(join(folder, "copy")))).toBe("StoreUnavailable")
    expect(await live(store)).toEqual({ a: "one" })
  })

  test("a copy takes its turn with what is cleared and rewritten, which would wait for it in SQLite's own lock", async () => {
    await create(store, "a", "one")
    const turn = Promise.withResolvers<void>()
    const copy = join(folder, "copy")
    const over = store.aside?.inTurn(() => turn.promise)
    const copied = store.snapshot(copy)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(existsSync(copy)).toBe(false)
    turn.resolve()
    await Promise.all([over, copied])
    expect(existsSync(copy)).toBe(true)
  })

  test("a file may be named by a link, beside which no log lies", async () => {
    await create(store, "a", "one")
    await store.close()
    const link = join(folder, "link.db")
    symlinkSync(path, link)
    await using linked = {
      store: openSqlite({ path: link }),
      [Symbol.asyncDispose]: () => linked.store.close(),
    }
    await create(linked.store, "b", "two")
    expect(await live(linked.store)).toEqual({ a: "one", b: "two" })
    rmSync(`${path}-wal`)
    expect(await failure(linked.store.rewrite("f1", []))).toBe("StoreUnavailable")
  })

  test("a reader that compaction passed falls out", async () => {
    const after = await store.revision()
    let expected = await create(store, "a", "x")
    const watch = store.watch({ prefix: ROOT, after, signal: AbortSignal.timeout(20_000) })
    const reader = watch[Symbol.asyncIterator]()
    expect((await reader.next()).value).toHaveLength(1)
    for (let turn = 0; turn < 20; turn += 1) {
      const large = "x".repeat(1_000_000)
      expected = await update(store, "a", { expected, text: large })
    }
    await store.compact(expected)
    expect(await failure(reader.next())).toBe("SlowWatcher")
  })

  test("a history of large values is told and read in pieces, whole", async () => {
    const after = await store.revision()
    const text = "x".repeat(1_000_000)
    const made = [await create(store, "a", text)]
    while (made.length < 20) {
      made.push(await update(store, "a", { expected: made.at(-1) ?? 0, text }))
    }
    await reopen()
    const upTo = await store.revision()
    const { cursor } = await store.rows({ cursor: "", upTo: after, limit: 100 })
    expect((await store.rows({ cursor, limit: 100 })).rows).toHaveLength(5)
    expect((await allRows(store)).slice(-20).map(({ revision }) => revision)).toEqual(made)
    const told: number[] = []
    for await (const batch of store.watch({
      prefix: ROOT,
      after,
      signal: AbortSignal.timeout(9_000),
    })) {
      expect(batch.length).toBeLessThan(6)
      told.push(...batch.map(({ revision }) => revision))
      if (told.at(-1) === upTo) break
    }
    expect(told).toEqual(made)
  })

  test("a watch that slept through other prefixes' changes does not count as slow", async () => {
    const signal = AbortSignal.timeout(20_000)
    const after = await store.revision()
    const watch = store.watch({ prefix: key("mine/"), after, signal })
    const next = watch[Symbol.asyncIterator]().next()
    const names = Array.from({ length: 5_000 }, (_, index) => `other/${index}`)
    await Promise.all(names.map((name) => create(store, name, "x")))
    await store.compact(await store.revision())
    const revision = await create(store, "mine/a", "x")
    expect((await next).value).toMatchObject([{ revision }])
  })

  test("a writer that closes the store's turn early loses no watcher's event", async () => {
    const after = await store.revision()
    const watch = store.watch({ prefix: key("a"), after, signal: AbortSignal.timeout(5_000) })
    const next = watch[Symbol.asyncIterator]().next()
    await new Promise(setImmediate)
    const writes = [create(store, "a", "x")]
    const scrubbing = [store.scrub()]
    writes.push(create(store, "b", "x"))
    scrubbing.push(store.scrub())
    await Promise.all([...writes, ...scrubbing])
    expect((await next).value).toMatchObject([{ key: key("a") }])
  })

  test("after rewriting and scrubbing the file and its log hold no old byte", async () => {
    await setFence(store, "f1")
    await plant(store)
    const upTo = await store.revision()
    for (const row of await allRows(store)) {
      const columns = (["value", "previous"] as const).flatMap((column): Replacement[] => {
        const expected = row[column]
        if (!expected?.includes(PLANTED)) return []
        const replacement = Buffer.alloc(Math.max(1, expected.length + pick(200) - 100), "n")
        return [{ key: row.key, revision: row.revision, column, expected, replacement }]
      })
      expect(await store.rewrite("f1", columns)).toMatchObject({ replaced: columns.length })
    }
    expect(found()).toBeGreaterThan(0)
    await store.scrub()
    expect(found()).toBe(0)
    expect(await store.revision()).toBe(upTo)
  })

  test("bytes that are gone from the file leave it as it is, others have it written afresh", async () => {
    await remove(store, "a", await create(store, "a", PLANTED.repeat(200_000)))
    await store.compact(await create(store, "b", "PLANTED"))
    const sizeBytes = () => statSync(path).size
    await store.scrub([bytes("PLANTED!!")])
    const before = sizeBytes()
    await create(store, "c", "PLANTED!!")
    await store.scrub([bytes("PLANTED!!"), bytes("other")])
    expect(sizeBytes()).toBeLessThan(before / 10)
  })

  test("while the file is written afresh all is read, and what is written waits", async () => {
    await create(store, "a", "one")
    const scrubbed = store.scrub()
    await new Promise(setImmediate)
    let isOver = false
    void scrubbed.then(() => (isOver = true))
    const wrote = create(store, "b", "two")
    let turns = 0
    while (!isOver) {
      expect(await live(store)).toEqual({ a: "one" })
      await new Promise(setImmediate)
      turns += 1
    }
    await wrote
    expect(turns).toBeGreaterThan(1)
    expect(await live(store)).toEqual({ a: "one", b: "two" })
  })

  test("a store that is closed meanwhile has committed what waited", async () => {
    const scrubbed = store.scrub()
    await new Promise(setImmediate)
    const wrote = create(store, "a", "one")
    await store.close()
    expect(await wrote).toBeGreaterThan(0)
    await scrubbed
    await reopen()
    expect(await live(store)).toEqual({ a: "one" })
  })

  const found = (): number =>
    [path, `${path}-wal`].reduce(
      (sum, file) => sum + readFileSync(file).toString("latin1").split(PLANTED).length - 1,
      0,
    )

  test("a clock starts anew with the process and stops with the entry", async () => {
    const clocks: { run: () => void; delayMs: number; running: boolean }[] = []
    const schedule = (run: () => void, delayMs: number): (() => void) => {
      const clock = { run, delayMs, running: true }
      clocks.push(clock)
      return () => {
        clock.running = false
      }
    }
    const write = { key: key("a"), value: bytes("x"), fence: undefined, ttlSeconds: 60 }
    const first = done(await store.create(write))
    await reopen({ schedule })
    await expect.poll(() => clocks.length).toBe(1)
    expect(clocks[0]).toMatchObject({ delayMs: 60_000, running: true })
    const second = done(await store.update({ ...write, expected: first, ttlSeconds: 3_000_000 }))
    expect(clocks[0]?.running).toBe(false)
    clocks[0]?.run() // a clock that had struck already: the compare keeps the entry
    expect(clocks[1]).toMatchObject({ delayMs: 2_147_483_647, running: true })
    clocks[1]?.run()
    expect(clocks[2]?.delayMs).toBe(3_000_000_000 - 2_147_483_647)
    expect((await store.get(key("a")))?.revision).toBe(second)
    clocks[2]?.run()
    await expect.poll(async () => await store.get(key("a"))).toBeUndefined()
  })
})

const PLANTED = "PLANTED!"
let seed = 6
/** A number below `limit`; the same ones in every run. */
function pick(limit: number): number {
  seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
  return seed % limit
}

/** A history in which rows move between pages, so that SQLite leaves copies of them behind. */
async function plant(store: Store): Promise<void> {
  const lanes = Array.from({ length: 16 }, () => new Map<string, number>())
  for (let turn = 1; turn <= 400; turn += 1) {
    await Promise.all(lanes.map((revisions, lane) => plantOne(store, revisions, lane)))
    if (turn % 100 === 0) await store.compact((await store.revision()) - 200)
  }
}

async function plantOne(store: Store, revisions: Map<string, number>, lane: number): Promise<void> {
  const name = `${lane}-${pick(50)}`
  const text = PLANTED.repeat(1 + pick(60))
  const expected = revisions.get(name)
  if (expected === undefined) revisions.set(name, await create(store, name, text))
  else if (pick(5) > 0) revisions.set(name, await update(store, name, { expected, text }))
  else {
    await remove(store, name, expected)
    revisions.delete(name)
  }
}
