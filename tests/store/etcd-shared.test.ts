/** etcd under several writers at once, and what keyturn leaves in it. */
import { fileURLToPath } from "node:url"
import { describe, expect, onTestFinished, test } from "vitest"
import { EtcdChannel } from "../../src/store/etcd-channel.ts"
import { watchRange } from "../../src/store/etcd-watch.ts"
import { BATCH_BYTES_MAX } from "../../src/store/kine.ts"
import type { Change, Replacement, Store } from "../../src/store/store.ts"
import {
  allRows,
  bytes,
  create,
  done,
  failure,
  key,
  line,
  live,
  ROOT,
  remove,
  setFence,
  update,
  watched,
} from "../contract/store-helpers.ts"
import { Etcd } from "../harness/etcd.ts"
import { EtcdStores } from "../harness/etcd-stores.ts"
import { Program, until } from "../harness/process.ts"
import { contend } from "./contend.ts"

const etcd = new EtcdStores()

/** Everything that is stored, to be replaced by itself and a `!`. */
async function replacements(store: Store): Promise<Replacement[]> {
  const rows = await allRows(store)
  return rows.map(({ previous: _, value = Buffer.alloc(0), ...row }) => {
    const replacement = Buffer.concat([value, bytes("!")])
    return { ...row, column: "value", expected: value, replacement }
  })
}

const sum = (values: readonly (Uint8Array | undefined)[]): number =>
  values.reduce((bytes, value) => bytes + (value?.length ?? 0), 0)

describe("what lies in etcd", () => {
  test("values under their own keys as they are, and what is keyturn's under /keyturn/", async () => {
    const store = await etcd.open()
    await setFence(store, "f1")
    await create(store, "a", "one")
    await remove(store, "gone", await create(store, "gone", "x"))
    const put = [
      { name: "keyring" as const, value: bytes("k") },
      { name: "operation" as const, value: bytes("o") },
    ]
    await store.step({ compare: [], put })
    const found = (await etcd.server.entries()).map(
      (entry) => `${entry.key} ${entry.value.toString()}`,
    )
    expect(found).toEqual([
      "/keyturn/fence f1",
      "/keyturn/keyring k",
      "/keyturn/mark ",
      "/keyturn/operation o",
      `${key("a")} one`,
    ])
  })

  test("rows are what lives under /registry/, by key, in pages", async () => {
    const store = await etcd.open()
    await etcd.server.put("/elsewhere", "x")
    await etcd.server.put("/keyturn/x", "x")
    for (const name of ["c", "a", "e", "b", "d"]) await create(store, name, name)
    const first = await store.rows({ cursor: "", limit: 2 })
    await create(store, "bb", "later")
    const second = await store.rows({ cursor: first.cursor, limit: 9 })
    const names = (rows: readonly { key: string }[]) => rows.map((row) => row.key.slice(-1))
    expect(names([...first.rows, ...second.rows]).join("")).toBe("abcde")
    expect((await store.rows({ cursor: second.cursor, limit: 9 })).rows).toEqual([])
    expect(await store.countRows({ cursor: first.cursor })).toBe(4)
    expect(
      (await store.rows({ cursor: "", limit: 2 })).rows,
      "after the end was read",
    ).toHaveLength(2)
  })

  test("rows up to a revision leave out what changed since, and no page is empty for that", async () => {
    const store = await etcd.open()
    const made = []
    for (const name of ["a", "b", "c", "d"]) made.push(await create(store, name, name))
    const upTo = made.at(-1) ?? 0
    for (const [index, name] of ["a", "b"].entries()) {
      await update(store, name, { expected: made[index] ?? 0, text: "new" })
    }
    const page = await store.rows({ cursor: "", upTo, limit: 1 })
    expect(page.rows.map((row) => row.key)).toEqual([key("c")])
    const next = await store.rows({ cursor: page.cursor, upTo, limit: 1 })
    expect(next.rows.map((row) => row.key)).toEqual([key("d")])
    expect((await store.rows({ cursor: next.cursor, upTo, limit: 1 })).rows).toEqual([])
  })

  test("no batch of rows holds much where large ones come after many small ones", async () => {
    const store = await etcd.open()
    const small = Array.from({ length: 300 }, (_, index) => `a${String(index).padStart(3, "0")}`)
    const large = Array.from({ length: 50 }, (_, index) => `b${String(index).padStart(3, "0")}`)
    await Promise.all(small.map((name) => create(store, name, "x")))
    for (const name of large) await create(store, name, "x".repeat(1_400_000))
    const found: string[] = []
    for (let cursor = ""; ; ) {
      const batch = await store.rows({ cursor, limit: 500 })
      if (batch.rows.length === 0) break
      cursor = batch.cursor
      found.push(...batch.rows.map((row) => row.key))
      expect(sum(batch.rows.map(({ value }) => value))).toBeLessThan(8 * BATCH_BYTES_MAX)
    }
    expect(found).toEqual([...small, ...large].map(key))
  })

  test("an etcd that somebody else filled is read, leases and all", async () => {
    await etcd.server.putWithLease(key("a"), "theirs")
    const store = await etcd.open()
    expect(await live(store)).toEqual({ a: "theirs" })
  })

  test("many large values are written, read and told at once", async () => {
    const store = await etcd.open()
    const after = await store.revision()
    // The time to write 56 MB is in it.
    const watching = watched(store, { after, count: 40, timeoutMs: 45_000 })
    const names = Array.from({ length: 40 }, (_, index) => `n${index}`)
    const made = await Promise.all(names.map((name) => create(store, name, "x".repeat(1_400_000))))
    const lists = await Promise.all([1, 2].map(() => store.list({ prefix: ROOT })))
    for (const { entries } of lists) expect(entries).toHaveLength(40)
    expect((await watching).map(({ revision }) => revision)).toEqual(made.toSorted((a, b) => a - b))
    const first = await store.rows({ cursor: "", limit: 500 })
    const next = await store.rows({ cursor: first.cursor, limit: 500 })
    expect(first.rows.length + next.rows.length).toBe(40)
  })

  test("history of more than the quota is forgotten in time, and the last of it is kept", async () => {
    const quota = 256
    await using server = await Etcd.start({ args: [`--quota-backend-bytes=${quota << 20}`] })
    const store = await etcd.open({ ports: [server.port] })
    const revisions = [await create(store, "a", "0")]
    for (let written = 1; written <= 1.4 * quota; written++) {
      const text = String(written % 10).repeat(1 << 20)
      revisions.push(await update(store, "a", { expected: revisions.at(-1) ?? 0, text }))
    }
    const forgotten = revisions.indexOf(await store.compactedRevision())
    const kept = revisions.length - 1 - forgotten
    expect(kept).toBeGreaterThanOrEqual(64)
    expect(kept).toBeLessThanOrEqual(130)
  })

  test("a value that etcd does not take is refused, and nothing is written", async () => {
    const store = await etcd.open()
    for (const size of [1_600_000, 5_000_000]) {
      const write = { key: key("a"), value: Buffer.alloc(size), fence: undefined }
      expect(await failure(store.create(write))).toBe("ObjectInvalid")
    }
    expect(await live(store)).toEqual({})
  })
})

/** What history is told in, which etcd sends in several answers where it is much. */
async function events(after: number, upTo: number): Promise<{ count: number; upTo: number }[]> {
  const channel = new EtcdChannel({ endpoints: [etcd.server.endpoint] })
  const range = { key: ROOT, end: `${ROOT}~` }
  const { signal } = new AbortController()
  const batches = []
  for await (const batch of watchRange(channel, { range, after, signal })) {
    batches.push({ count: batch.events.length, upTo: batch.upTo })
    if (batch.upTo >= upTo) break
  }
  channel.close()
  return batches
}

/** Of every kind of change as many as make 20 MB, of what they write or of what they replace; twenty updates in one revision.
 *  The newest revision. */
async function changeMuch(store: Store): Promise<number> {
  await setFence(store, "f1")
  const names = Array.from({ length: 20 }, (_, index) => `n${String(index).padStart(2, "0")}`)
  for (const name of names) await create(store, name, "x".repeat(1_000_000))
  const all = (await replacements(store)).map((one) => ({ ...one, replacement: bytes("y") }))
  expect(await store.rewrite("f1", all)).toMatchObject({ replaced: names.length })
  const { entries } = await store.list({ prefix: ROOT })
  const made: number[] = []
  for (const [index, { revision: expected }] of entries.entries())
    made.push(await update(store, names[index] ?? "", { expected, text: "z".repeat(1_000_000) }))
  for (const [index, expected] of made.entries()) await remove(store, names[index] ?? "", expected)
  return store.revision()
}

describe("a watcher far behind", () => {
  test("is told of much in parts of whole revisions, of each change once", async () => {
    const writer = await etcd.open()
    const after = await writer.revision()
    const upTo = await changeMuch(writer)
    const batches: (readonly Change[])[] = []
    const { signal } = new AbortController()
    for await (const batch of (await etcd.open()).watch({ prefix: ROOT, after, signal })) {
      batches.push(batch)
      if (batch.at(-1)?.revision === upTo) break
    }
    const told = batches.flat().map(({ type, key: name }) => `${type} ${name.slice(-2)}`)
    const of = (type: string) =>
      Array.from({ length: 20 }, (_, index) => `${type} ${String(index).padStart(2, "0")}`)
    expect(told).toEqual(["create", "update", "update", "delete"].flatMap(of))
    const revisions = batches.map((batch) => [...new Set(batch.map(({ revision }) => revision))])
    expect(revisions.flat(), "no revision in two parts").toEqual([...new Set(revisions.flat())])
    for (const batch of batches) {
      const last = batch.at(-1)?.revision
      const before = batch.filter(({ revision }) => revision !== last)
      const sizeBytes = sum(before.flatMap(({ value, previous }) => [value, previous]))
      expect(sizeBytes).toBeLessThanOrEqual(BATCH_BYTES_MAX)
    }
  })

  test("is one of many, of which none makes Node warn of a leak", async () => {
    const writer = await etcd.open()
    const after = await writer.revision()
    const made = await create(writer, "a", "x")
    const warnings: string[] = []
    const warned = ({ message }: Error) => void warnings.push(message)
    process.on("warning", warned)
    onTestFinished(() => void process.off("warning", warned))
    const store = await etcd.open()
    const watching = Array.from({ length: 20 }, () => watched(store, { after, count: 1 }))
    for (const told of await Promise.all(watching))
      expect(told.map(({ revision }) => revision)).toEqual([made])
    expect(warnings).toEqual([])
  })

  test("reads no more of history at once, though etcd says it in one answer", async () => {
    const writer = await etcd.open()
    const after = await writer.revision()
    const upTo = await changeMuch(writer)
    const parts = await events(after, upTo)
    expect(parts.reduce((total, { count }) => total + count, 0)).toBe(80)
    expect(Math.max(...parts.map(({ count }) => count))).toBeLessThanOrEqual(40)
  })
})

describe("rewriting", () => {
  test("is one update of each object, and what it replaced is told with it", async () => {
    const store = await etcd.open()
    await setFence(store, "f1")
    const a = await create(store, "a", "one")
    const after = await create(store, "b", "two")
    const all = await replacements(store)
    expect(await store.rewrite("f1", all)).toEqual({ outcome: "done", replaced: 2 })
    const changes = await watched(store, { after, count: 2 })
    const revision = changes[0]?.revision ?? 0
    expect(changes.map(line)).toEqual([
      `update a ${revision} one→one!`,
      `update b ${revision} two→two!`,
    ])
    expect((await store.get(key("a")))?.createRevision).toBe(a)
    expect(await store.rewrite("f1", all)).toEqual({ outcome: "done", replaced: 0 })
  })

  test("of much at once is told whole and once", async () => {
    const store = await etcd.open()
    await setFence(store, "f1")
    const names = Array.from({ length: 150 }, (_, index) => `n${index}`)
    for (const name of names) await create(store, name, "x".repeat(40_000))
    const after = await store.revision()
    const watching = watched(store, { after, count: 150 })
    const all = (await replacements(store)).map((one) => ({ ...one, replacement: bytes("y") }))
    expect(await store.rewrite("f1", all)).toMatchObject({ replaced: 150 })
    expect(new Set((await watching).map((change) => change.key)).size).toBe(150)
    const revision = await store.revision()
    expect(await events(after, revision)).toEqual([{ count: 150, upTo: revision }])
  })

  test("tells what etcd does not take, and does all else", async () => {
    const store = await etcd.open()
    await setFence(store, "f1")
    for (const name of ["a", "b", "c"]) await create(store, name, name)
    const tooLarge = { replacement: Buffer.alloc(1_600_000) }
    const all = (await replacements(store)).map((one) =>
      one.key === key("b") ? { ...one, ...tooLarge } : one,
    )
    expect(await store.rewrite("f1", all)).toEqual({
      outcome: "done",
      replaced: 2,
      refused: [{ key: key("b"), why: expect.stringContaining("too large") }],
    })
    expect(await live(store)).toEqual({ a: "a!", b: "b", c: "c!" })
  })

  test("leaves an entry its time to live", async () => {
    const store = await etcd.open()
    await setFence(store, "f1")
    const brief = { key: key("a"), value: bytes("x"), fence: undefined, ttlSeconds: 2 }
    done(await store.create(brief))
    await store.rewrite("f1", await replacements(store))
    expect(await live(store)).toEqual({ a: "x!" })
    await expect.poll(() => live(store), { timeout: 8_000 }).toEqual({})
  })

  test("scrubbing ends after a compaction by somebody else that may still be at work", async () => {
    const store = await etcd.open()
    await store.compact(await store.revision())
    const revision = await store.compactedRevision()
    await store.scrub("records")
    expect(await store.compactedRevision()).toBeGreaterThan(revision)
  })

  test("after scrubbing history holds nothing of it, and no watch that kept up is cut", async () => {
    const [store, other] = [await etcd.open(), await etcd.open()]
    await setFence(store, "f1")
    const old = await create(store, "a", "one")
    const watchings = [store, other].map((each) => watched(each, { after: old - 1, count: 3 }))
    await store.rewrite("f1", await replacements(store))
    await store.scrub()
    expect(await failure(store.get(key("a"), old))).toBe("Compacted")
    await expect(etcd.server.entries({ key: key("a"), revision: old })).rejects.toThrow("compacted")
    const revision = (await store.get(key("a")))?.revision ?? 0
    const last = await update(other, "a", { expected: revision, text: "three" })
    for (const watching of watchings) {
      expect((await watching).map(line)).toEqual([
        `create a ${old} →one`,
        `update a ${revision} one→one!`,
        `update a ${last} one!→three`,
      ])
    }
  })
})

describe("several servers", () => {
  test("four that write at once each tell every change once, in order", async () => {
    const servers = await Promise.all(Array.from({ length: 4 }, () => etcd.open()))
    const [first] = servers
    if (first === undefined) throw new Error("no server")
    const after = await first.revision()
    const stop = new AbortController()
    const told = servers.map(async (store) => {
      const changes: Change[] = []
      for await (const batch of store.watch({ prefix: ROOT, after, signal: stop.signal })) {
        changes.push(...batch)
        if (changes.at(-1)?.key === key("end")) return changes
      }
      return changes
    })
    const made = (await Promise.all(servers.map(contend))).flat()
    made.push(await create(first, "end", ""))
    setTimeout(() => stop.abort(), 5_000).unref()
    const expected = made.toSorted((a, b) => a - b)
    for (const changes of await Promise.all(told)) {
      expect(changes.map(({ revision }) => revision)).toEqual(expected)
    }
  })

  test("what one writes another tells within 100 ms at the median", async () => {
    const [writer, reader] = [await etcd.open(), await etcd.open()]
    const after = await writer.revision()
    const watch = reader.watch({ prefix: ROOT, after, signal: AbortSignal.timeout(20_000) })
    const changes = watch[Symbol.asyncIterator]()
    const tookMs: number[] = []
    for (let turn = 0; turn < 15; turn += 1) {
      const next = changes.next()
      const start = performance.now()
      await create(writer, `n${turn}`, "x")
      expect((await next).done).toBe(false)
      tookMs.push(performance.now() - start)
    }
    tookMs.sort((a, b) => a - b)
    expect(tookMs[7]).toBeLessThan(100)
  })

  test("a list by one shows what another was told is done, and a watch from it misses nothing", async () => {
    const [writer, reader] = [await etcd.open(), await etcd.open()]
    for (let turn = 0; turn < 20; turn += 1) {
      const made = await create(writer, `n${turn}`, "x")
      const { entries, revision } = await reader.list({ prefix: ROOT })
      expect(entries.some((entry) => entry.revision === made)).toBe(true)
      const next = watched(reader, { after: revision, count: 1 })
      const then = await create(writer, `m${turn}`, "x")
      expect((await next).map((change) => change.revision)).toEqual([then])
    }
  })

  test("a writer that is stopped anywhere holds nobody, and writes nothing after the fence moved", async () => {
    const mover = await etcd.open()
    const writer = fileURLToPath(new URL("./fenced-writer.ts", import.meta.url))
    await setFence(mover, "f0")
    for (let round = 0; round < 6; round += 1) {
      const args = [writer, etcd.server.endpoint, `r${round}`, `f${round}`]
      await using paused = new Program(process.execPath, args)
      await until(() => paused.stdout.length > 200 + round * 7)
      paused.signal("SIGSTOP")
      const start = performance.now()
      const fence = { expected: `f${round}`, next: `f${round + 1}` }
      const moved = await mover.step({ compare: [], fence })
      expect(performance.now() - start).toBeLessThan(3_000)
      paused.signal("SIGCONT")
      expect(await paused.ended).toBe(0)
      expect(paused.stdout).toContain("fenced")
      const last = Math.max(...paused.stdout.split("\n").map(Number).filter(Number.isFinite))
      if (moved.outcome !== "done") throw new Error("the fence did not move")
      expect(last).toBeLessThanOrEqual(moved.revision)
    }
  })

  test("a record changed by one wakes the other", async () => {
    const [writer, reader] = [await etcd.open(), await etcd.open()]
    const wakes = reader.watchRecords(AbortSignal.timeout(10_000))[Symbol.asyncIterator]()
    const seen = wakes.next()
    const put = [{ name: "keyring" as const, value: bytes("k") }]
    await writer.step({ compare: [{ name: "keyring", version: null }], put })
    expect((await seen).done).toBe(false)
    expect((await reader.record("keyring"))?.value).toEqual(bytes("k"))
  })

  test("a watch from before what another compacted is refused", async () => {
    const compacting = await etcd.open()
    const after = await compacting.revision()
    const one = await create(compacting, "a", "one")
    await update(compacting, "a", { expected: one, text: "two" })
    const store = await etcd.open()
    await compacting.compact(await compacting.revision())
    expect(await failure(watched(store, { after, count: 1 }))).toBe("Compacted")
    expect(await store.compactedRevision()).toBe(await compacting.compactedRevision())
  })

  test("several that compact at once leave what lives", async () => {
    const servers = await Promise.all([etcd.open(), etcd.open(), etcd.open()])
    const [first] = servers
    if (first === undefined) throw new Error("no server")
    let expected = await create(first, "a", "0")
    for (let turn = 1; turn <= 60; turn += 1) {
      expected = await update(first, "a", { expected, text: `${turn}` })
    }
    for (let back = 50; back >= 0; back -= 10) {
      await Promise.all(servers.map((store) => store.compact(expected - back)))
    }
    expect(await first.compactedRevision()).toBe(expected)
    for (const store of servers) expect(await live(store)).toEqual({ a: "60" })
    expect(await allRows(first)).toHaveLength(1)
  })
})
