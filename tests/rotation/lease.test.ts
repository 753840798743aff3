/** The operation's lease: servers on one datastore, each with its own keys in memory and its own clock. */
import { createSecretKey, randomBytes } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, expect, test } from "vitest"
import { KnownError } from "../../src/errors.ts"
import { emptyKeyring, withKeysTakenIn } from "../../src/keyring/keyring.ts"
import { newClusterKey, newFence } from "../../src/keyring/record.ts"
import { createKeyring, Keys } from "../../src/registry/keys.ts"
import { Registry } from "../../src/registry/registry.ts"
import { census, countsOf } from "../../src/rewriter/census.ts"
import { takeVerb } from "../../src/rewriter/take-verb.ts"
import { runOperations } from "../../src/rewriter/operations.ts"
import { runOperation } from "../../src/rewriter/run.ts"
import { BEAT_MS } from "../../src/rotation/lease.ts"
import { openSqlite } from "../../src/store/sqlite.ts"
import type { Store } from "../../src/store/store.ts"
import { until } from "../harness/process.ts"
import { CALLER, verbsOf } from "../harness/verbs.ts"

const SECRETS = { storagePrefix: "/registry/secrets/" }
const COUNT = 2000
const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

/** `rotate-keys` was taken by server-1, which has not begun to rewrite. */
async function rotationTaken() {
  const dir = mkdtempSync(join(tmpdir(), "keyturn-lease-"))
  const store = openSqlite({ path: join(dir, "state.db") })
  cleanups.push(
    () => rmSync(dir, { recursive: true }),
    () => store.close(),
  )
  const clusterKey = newClusterKey()
  const pair = { cert: "", key: "" }
  const keyring = emptyKeyring({ server: pair, client: pair }, { password: "pw" })
  const record = { epoch: 1, fence: newFence(), slots: [], keyring }
  await createKeyring(store, { record, clusterKey })
  const open = (on: Store) => Keys.open(on, clusterKey)
  const keys = await open(store)
  let seconds = 0
  const now = () => new Date(Date.UTC(2026, 10, 23, 12, 0, (seconds += 2)))
  const take = (verb: "enable" | "rotate-keys") =>
    takeVerb({ verb, force: false, skip: false }, CALLER, verbsOf(keys, now))
  const server = async (name: string, monotonicMs = () => 0, on: Store = store) => {
    const stop = new AbortController()
    const run = { store: on, keys: await open(on), server: name, now, monotonicMs }
    return { run: { ...run, signal: stop.signal }, stop: () => stop.abort() }
  }
  await take("enable")
  await runOperation((await server("server-1")).run)
  const registry = new Registry(store, keys)
  const names = Array.from({ length: COUNT }, (_, i) => `s${i}`)
  const secret = (name: string) => ({
    kind: "Secret",
    apiVersion: "v1",
    metadata: { name, namespace: "default" },
    data: { name: Buffer.from(name).toString("base64") },
  })
  await Promise.all(
    names.map((name) => registry.create(SECRETS, { name, namespace: "default" }, secret(name))),
  )
  await take("rotate-keys")
  /** I3 to I5, on the stored bytes. */
  const check = async () => {
    const { keyring } = await keys.refresh().then((view) => view.record)
    expect(countsOf(await census(store, keys.view))).toEqual(
      new Map([
        ["aescbckey", 0],
        [keyring.writer, COUNT],
      ]),
    )
    expect(keyring.keys.map(({ state }) => state)).toEqual(["archived", "active"])
    const { items } = await registry.list(SECRETS, {})
    expect(items.map(({ object }) => object)).toEqual(
      names.toSorted().map((name) => expect.objectContaining({ data: secret(name).data })),
    )
  }
  return { store, keys, server, check }
}

function told() {
  const said: string[] = []
  const tell = {
    began: () => void said.push("began"),
    tookOver: ({ holder }: { holder: string | null }) => void said.push(`from ${holder}`),
    ended: async () => void said.push("ended"),
    failed: async (error: unknown) => {
      throw error
    },
  }
  return { said, tell }
}

const withMethods = (store: Store, methods: Partial<Store>): Store =>
  new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(name in methods ? methods : target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })

const ended = (keys: Keys) => async () => (await keys.operation())?.state === "finished"

test("an operation whose holder is gone is taken over by another, and by one alone", async () => {
  const { keys, server, check } = await rotationTaken()
  const others = await Promise.all(
    ["server-2", "server-3"].map(async (name) => {
      let ms = 0
      const { run, stop } = await server(name, () => (ms += 2_000))
      const { said, tell } = told()
      return { said, stop, over: runOperations(run, tell) }
    }),
  )
  await until(ended(keys))
  for (const { stop } of others) stop()
  await Promise.all(others.map(({ over }) => over))
  expect(others.flatMap(({ said }) => said)).toEqual(["from server-1", "began", "ended"])
  await check()
})

test("an operation whose record moves stays with its holder", async () => {
  const { keys, server } = await rotationTaken()
  let ms = 0
  const { run, stop } = await server("server-2", () => (ms += 3_000))
  const { said, tell } = told()
  const over = runOperations(run, tell)
  for (let beats = 0; beats < 40; beats++) {
    await keys.change("beat", ({ operation }) => operation && { operation })
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  expect(ms).toBeGreaterThan(30_000)
  expect(said).toEqual([])
  stop()
  await over
})

test("a server that ends gives its operation back, and another goes on at once from the cursor", async () => {
  const { store, keys, server, check } = await rotationTaken()
  let batches = 0
  const first = await server("server-1", () => (batches += 1) * 1_000)
  const over = runOperation(first.run)
  await until(async () => ((await keys.operation())?.looked ?? 0) > 0)
  first.stop()
  await expect(over).rejects.toMatchObject({ name: "AbortError" })
  const left = await keys.operation()
  expect(left).toMatchObject({ state: "running", holder: null })
  expect(left?.looked).toBeLessThan(left?.rows ?? 0)

  const lookedAt: string[] = []
  const rows: Store["rows"] = (range) => {
    lookedAt.push(range.cursor)
    return store.rows(range)
  }
  const second = await server("server-2", () => 0, withMethods(store, { rows }))
  const { said, tell } = told()
  const others = runOperations(second.run, tell)
  await until(ended(keys))
  second.stop()
  await others
  expect(said).toEqual(["from null", "began", "ended"])
  expect(lookedAt[0]).toBe(left?.cursor)
  const [enable, rotation] = await keys.history()
  expect(enable).not.toHaveProperty("resumed")
  expect(rotation).toMatchObject({ outcome: "finished", resumed: true })
  await check()
})

test("no batch waits until the cursor is saved, and none comes before one that was saved later", async () => {
  const { store, keys, server, check } = await rotationTaken()
  const thirdBatch = Promise.withResolvers<void>()
  let batches = 0
  const rewrite: Store["rewrite"] = (fence, replacements) => {
    if (++batches === 3) thirdBatch.resolve()
    return store.rewrite(fence, replacements)
  }
  const looked: (number | undefined)[] = []
  const step: Store["step"] = async (asked) => {
    if (batches > 0) await thirdBatch.promise
    const result = await store.step(asked)
    looked.push((await keys.operation())?.looked)
    return result
  }
  const slow = withMethods(store, { rewrite, step })
  let nowMs = 0
  const { run } = await server("server-1", () => (nowMs += 1_000), slow)
  await runOperation(run)
  expect(looked).toEqual(looked.toSorted((a, b) => Number(a) - Number(b)))
  expect(await ended(keys)()).toBe(true)
  await check()
})

test("a run that fails ends after the save that it began: coming later, that would put the cursor of the next one back", async () => {
  const { store, server } = await rotationTaken()
  const failed = Promise.withResolvers<void>()
  const saves = Promise.withResolvers<void>()
  let batches = 0
  const rewrite: Store["rewrite"] = async (fence, replacements) => {
    if (++batches < 3) return await store.rewrite(fence, replacements)
    failed.resolve()
    throw new KnownError("StoreUnavailable", "gone")
  }
  let isOver = false
  let isLate = false
  const step: Store["step"] = async (asked) => {
    if (batches > 0) await saves.promise
    isLate ||= isOver
    return await store.step(asked)
  }
  // One save is due, after the first batch.
  let readings = 0
  const monotonicMs = () => Math.min(++readings, 3) * 1_000
  const slow = withMethods(store, { rewrite, step })
  const { run } = await server("server-1", monotonicMs, slow)
  const over = runOperation(run).finally(() => (isOver = true))
  await failed.promise
  await new Promise((resolve) => setTimeout(resolve, 100))
  saves.resolve()
  await expect(over).rejects.toMatchObject({ message: "gone" })
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(isLate).toBe(false)
})

test("a pass in which there is nothing to do takes back nothing of what the lease counted", async () => {
  const { store, keys, server, check } = await rotationTaken()
  let isSecond = false
  const rows: Store["rows"] = async (range) => {
    const operation = await keys.operation()
    if (operation?.pass === 2 && operation.upTo !== null && !isSecond) {
      isSecond = true
      await new Promise((resolve) => setTimeout(resolve, 2.5 * BEAT_MS))
    }
    return await store.rows(range)
  }
  const moves: number[] = []
  const step: Store["step"] = async (asked) => {
    const result = await store.step(asked)
    moves.push((await keys.operation())?.moves ?? 0)
    return result
  }
  const { run } = await server("server-1", () => 0, withMethods(store, { rows, step }))
  await runOperation(run)
  expect(isSecond).toBe(true)
  expect(moves).toEqual(moves.toSorted((a, b) => a - b))
  await check()
})

test("a key that is taken in while the proof is made is looked for by another proof", async () => {
  const { store, keys, server } = await rotationTaken()
  let scrubs = 0
  const scrub: Store["scrub"] = async (of) => {
    await store.scrub(of)
    if (++scrubs > 1) return
    await new Promise((resolve) => setTimeout(resolve, 100))
    const [key] = keys.view.record.keyring.keys
    if (key === undefined) throw new Error("there is no key")
    const taken = {
      ...key,
      name: "taken-in",
      state: "active" as const,
      secret: createSecretKey(randomBytes(32)),
    }
    await keys.change("take-in-keys", ({ record: { keyring } }) => ({
      keyring: withKeysTakenIn(keyring, [taken]),
    }))
  }
  const { run } = await server("server-1", () => 0, withMethods(store, { scrub }))
  const operation = await runOperation(run)
  expect(scrubs).toBe(2)
  expect(operation).toMatchObject({
    state: "finished",
    kept: {},
    retired: ["taken-in", "aescbckey"],
  })
})

test("a server that ends does not wait for what it clears", async () => {
  const { store, keys, server, check } = await rotationTaken()
  const clearing = Promise.withResolvers<void>()
  const scrub: Store["scrub"] = () => {
    clearing.resolve()
    return new Promise(() => {})
  }
  const first = await server("server-1", () => 0, withMethods(store, { scrub }))
  const over = runOperation(first.run)
  await clearing.promise
  first.stop()
  await expect(over).rejects.toMatchObject({ name: "AbortError" })
  expect(await keys.operation()).toMatchObject({ state: "running", holder: null })
  const second = await server("server-2")
  const others = runOperations(second.run, told().tell)
  await until(ended(keys))
  second.stop()
  await others
  await check()
})

test("while the proof takes its time the record goes on moving", async () => {
  const { store, keys, server, check } = await rotationTaken()
  const versions = new Set<string | undefined>()
  const scrub: Store["scrub"] = async () => {
    const until = performance.now() + 2.5 * BEAT_MS
    while (performance.now() < until) {
      versions.add((await store.record("operation"))?.version)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  const holder = await server("server-1", () => 0, withMethods(store, { scrub }))
  await runOperation(holder.run)
  expect(await ended(keys)()).toBe(true)
  expect(versions.size).toBeGreaterThan(2)
  await check()
})

test("two runners at once do no harm", async () => {
  const { keys, server, check } = await rotationTaken()
  const runners = await Promise.all([server("server-1"), server("server-1")])
  await Promise.all(runners.map(({ run }) => runOperation(run)))
  expect(await ended(keys)()).toBe(true)
  await check()
})
