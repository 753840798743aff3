/** A rotation through the real keyring, registry, rewriter and SQLite, checked on the stored bytes after every step. */
import { createSecretKey, randomBytes } from "node:crypto"
import { expect, onTestFinished, test, vi } from "vitest"
import { KnownError } from "../../src/errors.ts"
import { encodeObject } from "../../src/format/codec.ts"
import type { Key } from "../../src/keyring/keyring.ts"
import { census, countsOf } from "../../src/rewriter/census.ts"
import { takeVerb } from "../../src/rewriter/take-verb.ts"
import { UNPACED } from "../../src/rewriter/run.ts"
import { CALLER, verbsOf } from "../harness/verbs.ts"
import { cluster, secret, SECRETS } from "./cluster.ts"

test("secrets written in plain are encrypted by enable, and turned by rotate-keys, with no new revision", async () => {
  const { store, keys, registry, take, run } = await cluster()
  for (let i = 0; i < 50; i++)
    await registry.create(SECRETS, { namespace: "default", name: `s${i}` }, secret(`s${i}`, `${i}`))
  const before = await store.revision()
  await take("enable")
  expect((await run())?.state).toBe("finished")
  const { keyring } = keys.view.record
  expect(countsOf(await census(store, keys.view))).toEqual(new Map([["aescbckey", 50]]))
  expect(keyring.writer).toBe("aescbckey")

  const stored = await registry.get(SECRETS, { namespace: "default", name: "s7" })
  if (stored === undefined) throw new Error("s7 is lost")
  await registry.replace(stored, secret("s7", "changed"))
  await take("rotate-keys")
  const operation = await run()
  expect(operation).toMatchObject({
    state: "finished",
    retired: ["aescbckey"],
    kept: {},
    unreadable: 0,
  })
  const [old, fresh] = keys.view.record.keyring.keys
  expect(old?.state).toBe("archived")
  expect(countsOf(await census(store, keys.view))).toEqual(
    new Map([
      [old?.name, 0],
      [fresh?.name, 52],
    ]),
  )
  expect(await store.revision()).toBe(before + 1)
  const s7 = await registry.get(SECRETS, { namespace: "default", name: "s7" })
  expect(s7?.object.data).toEqual({ password: Buffer.from("changed").toString("base64") })
  expect(s7?.stale).toBe(false)
})

test("a server whose keyring is behind seals again under the new key", async () => {
  const { store, keys, registry, anotherServer, take, run } = await cluster()
  await take("enable")
  await run()
  const behind = await anotherServer()
  await take("rotate-keys")
  await behind.create(SECRETS, { namespace: "default", name: "late" }, secret("late", "x"))
  await run()
  expect(countsOf(await census(store, keys.view)).get("aescbckey")).toBe(0)
  expect((await registry.get(SECRETS, { namespace: "default", name: "late" }))?.stale).toBe(false)
})

test("a verb whose files cannot be written is told as taken", async () => {
  const { keys, take } = await cluster()
  const full = async () => {
    throw new KnownError("DiskFull", "no space left")
  }
  const request = { verb: "enable", force: false, skip: false } as const
  const parts = { ...verbsOf(keys, () => new Date()), publish: full }
  await expect(takeVerb(request, CALLER, parts)).rejects.toMatchObject({
    code: "DiskFull",
    message: "enable is taken, but the files or the Node do not say so yet: no space left",
  })
  expect(await keys.operation()).toMatchObject({ kind: "enable", state: "running" })
  expect(await take("enable")).toBeUndefined()
})

test("what takes over from enable clears the file of plain text as enable would", async () => {
  const { keys, take } = await cluster()
  await take("enable")
  await take("rotate-keys")
  expect(await keys.operation()).toMatchObject({ kind: "rotate-keys", vacuums: true })
})

test("prepare, rotate, reencrypt walk the stages and repeat without effect", async () => {
  const { keys, take, run } = await cluster()
  await take("enable")
  await run()
  const stage = () => keys.view.record.keyring.stage
  for (const [verb, to] of [
    ["prepare", "prepare"],
    ["rotate", "rotate"],
    ["reencrypt", "reencrypt_active"],
  ] as const) {
    await take(verb)
    expect(stage()).toBe(to)
    const { epoch } = keys.view.record
    await take(verb)
    expect(keys.view.record.epoch).toBe(epoch)
  }
  await run()
  expect(stage()).toBe("reencrypt_finished")
})

test("a forged operation record turns nothing into plain text and brings no old key back", async () => {
  const { store, keys, registry, take, run } = await cluster()
  await take("enable")
  await run()
  await registry.create(SECRETS, { namespace: "default", name: "s" }, secret("s", "x"))
  await take("rotate-keys")
  await run()
  const ended = await keys.operation()
  for (const target of [null, "aescbckey"]) {
    const forged = { ...ended, id: "forged", state: "running", target, upTo: null, cursor: "" }
    const put = [{ name: "operation" as const, value: Buffer.from(JSON.stringify(forged)) }]
    await store.step({ compare: [], put })
    await run()
    const { writer } = keys.view.record.keyring
    expect([...countsOf(await census(store, keys.view))]).toEqual([
      ["aescbckey", 0],
      [writer, 1],
    ])
  }
})

test("a fence that is not the keyring's ends the rewrite with an error that waits, not in a loop", async () => {
  const { store, keys, registry, take, runAll } = await cluster()
  await registry.create(SECRETS, { namespace: "default", name: "s" }, secret("s", "x"))
  const begun = await take("enable")
  const past = { ...begun, upTo: await store.revision(), rows: 1 }
  const put = [{ name: "operation" as const, value: Buffer.from(JSON.stringify(past)) }]
  await store.step({ compare: [], put, fence: { expected: keys.view.record.fence, next: "other" } })
  const stop = new AbortController()
  onTestFinished(() => stop.abort())
  const failure = await new Promise((failed) => {
    void runAll(stop.signal, async (error) => {
      failed(error)
      stop.abort()
    })
  })
  expect(failure).toMatchObject({ code: "RecordCorrupt" })
  expect(await keys.operation()).toMatchObject({ state: "running" })
})

/** A key name that another one begins, by a whole AES block: what the longer one sealed, the shorter one opens too. */
const [SHORT, LONG] = ["a", "a:123456789012345"]

async function withOverlappingKeys() {
  const all = await cluster()
  const secret = createSecretKey(randomBytes(32))
  const key = (name: string): Key => {
    return { name, provider: "aescbc", state: "active", created: "", secret }
  }
  const keys = [key(SHORT), key(LONG)]
  await all.keys.change("enable", ({ record: { keyring } }) => ({
    keyring: { ...keyring, keys, writer: LONG, intent: "encrypted" },
    movesFence: true,
  }))
  return all
}

test("a key that opens a value of another one to rubbish does not spoil it", async () => {
  const { registry, take, run } = await withOverlappingKeys()
  await registry.create(SECRETS, { namespace: "default", name: "s" }, secret("s", "x"))
  await take("rotate-keys")
  const value = async () =>
    (await registry.get(SECRETS, { namespace: "default", name: "s" }))?.object.data
  expect(await value()).toEqual({ password: "eA==" })
  expect(await run()).toMatchObject({ unreadable: 0, retired: [SHORT, LONG] })
  expect(await value()).toEqual({ password: "eA==" })
})

test("nor where the rubbish begins as JSON does", async () => {
  const { store, keys, registry, take, run } = await withOverlappingKeys()
  const key = "/registry/secrets/default/rubbish"
  const short = keys.view.provider(SHORT)
  for (let brace = false; !brace; ) {
    const { value, fence } = keys.view.seal(key, encodeObject(secret("rubbish", "x")))
    brace = short.open(value, key)[0] === 0x7b
    if (brace) await store.create({ key, value, fence })
  }
  await take("rotate-keys")
  expect(await run()).toMatchObject({ unreadable: 0, retired: [SHORT, LONG] })
  const found = await registry.get(SECRETS, { namespace: "default", name: "rubbish" })
  expect(found?.object.data).toEqual({ password: "eA==" })
})

test("what opens to no object is left as it is, and its key kept", async () => {
  // https://github.com/kubernetes/kubernetes/issues/86489 (docs/pains.md 9)
  const { store, keys, take, run } = await withOverlappingKeys()
  const key = "/registry/secrets/default/rubbish"
  const { value, fence } = keys.view.seal(key, Buffer.from("rubbish"))
  await store.create({ key, value, fence })
  await take("rotate-keys")
  const why = `${key}: what opened is no Kubernetes object`
  expect(await run()).toMatchObject({
    unreadableNames: [{ key, why }],
    kept: { [SHORT]: 1, [LONG]: 1 },
  })
  expect((await store.get(key))?.value).toEqual(value)
})

test("a copy of the datastore that is put back while a rewrite runs takes its rows and its cursor with it", async () => {
  const { store, keys, registry, take, run } = await cluster()
  await take("enable")
  await run()
  for (let i = 0; i < 9; i++)
    await registry.create(SECRETS, { namespace: "default", name: `s${i}` }, secret(`s${i}`, "x"))
  await take("rotate-keys")
  const rowsNow = async () => (await store.rows({ cursor: "", limit: 100 })).rows
  const [rows, record] = [await rowsNow(), await store.record("operation")]
  if (record === undefined) throw new Error("nothing runs")

  const putBack = async () => {
    const now = await rowsNow()
    const replacements = rows.flatMap(({ key, revision, value }, at) => {
      const expected = now[at]?.value
      if (value === undefined || expected === undefined || expected.equals(value)) return []
      return [{ key, revision, column: "value" as const, expected, replacement: value }]
    })
    expect(replacements.length).toBeGreaterThan(0)
    await store.rewrite(keys.view.record.fence, replacements)
    const version = (await store.record("operation"))?.version ?? null
    const { outcome } = await store.step({
      compare: [{ name: "operation", version }],
      put: [{ name: "operation", value: record.value }],
    })
    expect(outcome).toBe("done")
  }
  let batches = 0
  const pause = async () => void (++batches === 2 && (await putBack()))
  const operation = await run({ ...UNPACED, rows: 3, pause })
  expect(batches).toBeGreaterThan(4)
  expect(operation).toMatchObject({ state: "finished", retired: ["aescbckey"], kept: {} })
})

test.each([
  ["once is rewritten by a second round", 1, { retired: ["aescbckey"], kept: {} }],
  [
    "again and again keeps its key, and ends the rotation",
    9,
    { retired: [], kept: { aescbckey: 1 } },
  ],
])("what comes back behind a pass %s", async (_, times, outcome) => {
  const { store, keys, registry, take, run } = await cluster()
  await take("enable")
  await run()
  for (let i = 0; i < 9; i++)
    await registry.create(SECRETS, { namespace: "default", name: `s${i}` }, secret(`s${i}`, "x"))
  const old = await store.get("/registry/secrets/default/s0")
  if (old === undefined) throw new Error("s0 is lost")
  await take("rotate-keys")
  let back = 0
  /** As a copy does that has the operation's record of now: after a batch, so behind the cursor. */
  const pause = async () => {
    const now = await store.get(old.key)
    if (now === undefined || now.value.equals(old.value) || back === times) return
    back += 1
    const { key, revision, value: expected } = now
    const putBack = { key, revision, column: "value", expected, replacement: old.value } as const
    await store.rewrite(keys.view.record.fence, [putBack])
  }
  const operation = await run({ ...UNPACED, rows: 3, pause })
  expect(back).toBe(Math.min(times, 2))
  expect(operation).toMatchObject({ state: "finished", ...outcome })
  expect(operation?.looked).toBe(operation?.rows)
})

test("the proof goes by the pacer's batches too: what it counts at once holds requests up", async () => {
  const { store, registry, take, run } = await cluster()
  await take("enable")
  await run()
  for (let i = 0; i < 30; i++)
    await registry.create(SECRETS, { namespace: "default", name: `s${i}` }, secret(`s${i}`, "x"))
  await take("rotate-keys")
  const rows = vi.spyOn(store, "rows")
  expect(await run({ ...UNPACED, rows: 3 })).toMatchObject({ state: "finished" })
  const limits = rows.mock.calls.map(([{ limit }]) => limit)
  expect(Math.max(...limits)).toBeLessThanOrEqual(12)
  expect(limits.filter((limit) => limit === 12).length).toBeGreaterThan(2)
})
