/** The plan of a verb, through the real keyring, registry and SQLite. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { planVerb } from "../../src/rewriter/plan.ts"
import type { Verb } from "../../src/rotation/operation.ts"
import { verbsOf } from "../harness/verbs.ts"
import { cluster, ownDir, secret, SECRETS, sqliteIn } from "./cluster.ts"

const refTo = (name: string) => ({ namespace: "default", name })

async function filled() {
  const dir = ownDir()
  const store = sqliteIn(dir)
  const all = await cluster(store)
  const { keys, registry, now } = all
  const plan = (verb: Verb) =>
    planVerb(verb, {
      ...verbsOf(keys, now),
      store,
      engine: "sqlite",
      monotonicMs: () => 0,
      signal: new AbortController().signal,
    })
  for (const name of ["a", "b"]) await registry.create(SECRETS, refTo(name), secret(name, name))
  return { ...all, path: join(dir, "state.db"), plan }
}

test("what a plan counts is what the verb then does, for every verb that rewrites", async () => {
  const { registry, take, run, plan } = await filled()
  for (const verb of ["enable", "rotate-keys", "disable"] as const) {
    const planned = await plan(verb)
    expect(planned, verb).toMatchObject({ blocked: null, work: { unreadable: 0, events: 0 } })
    await take(verb)
    const operation = await run()
    expect(operation?.rewritten, verb).toBe(planned.work?.values)
    expect(planned.work?.secrets, verb).toBe(2)
    const { rows = 0, secondsBeside } = planned.work ?? {}
    expect(secondsBeside, verb).toBe(rows / 800)
    expect(rows, verb).toBeGreaterThan(2)
    const stored = await registry.get(SECRETS, refTo("a"))
    if (stored !== undefined) await registry.replace(stored, secret("a", verb))
  }
  expect(await plan("disable")).toEqual({ verb: "disable", blocked: null, work: null })
})

test("a plan changes nothing: neither bytes nor revision", async () => {
  const { path, store, take, run, plan } = await filled()
  await take("enable")
  await run()
  const bytes = () => [path, `${path}-wal`].map((file) => readFileSync(file).toString("base64"))
  const before = [await store.revision(), ...bytes()]
  for (const verb of ["rotate-keys", "prepare", "reencrypt", "disable", "abort"] as const)
    await plan(verb)
  expect([await store.revision(), ...bytes()]).toEqual(before)
})

test("a plan is blocked by what would refuse the verb", async () => {
  const { take, run, plan } = await filled()
  const code = async (verb: Verb) => (await plan(verb)).blocked?.code
  expect(await code("rotate-keys")).toBe("EncryptionDisabled")
  await take("enable")
  await run()
  expect(await code("rotate")).toBe("WrongStage")
  await take("rotate-keys")
  expect(await code("disable")).toBe("RotationUnderWay")
  expect(await plan("abort")).toEqual({ verb: "abort", blocked: null, work: null })
  expect(await code("reencrypt")).toBeUndefined()
})

test("a plan names what would not open, which would keep its key", async () => {
  const { store, keys, take, run, plan } = await filled()
  await take("enable")
  await run()
  const key = "/registry/secrets/default/damaged"
  const { value, fence } = keys.view.seal(key, Buffer.from("k8s\0"))
  await store.create({ key, value: value.subarray(0, -1), fence })
  const { blocked, work } = await plan("rotate-keys")
  expect(blocked).toMatchObject({
    code: "KeyStillNeeded",
    message: expect.stringContaining(`cannot rewrite 1 stored value: ${key}`),
  })
  expect(work).toMatchObject({ values: 2, unreadable: 1 })
  await take("rotate-keys")
  expect((await run())?.unreadableNames).toEqual(work?.unreadableNames)
})
