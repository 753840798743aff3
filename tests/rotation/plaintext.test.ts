/** Plain text that somebody puts into the store: refused by name once an operation proved that there is none, and never before. */
import { expect, test } from "vitest"
import { encodeObject } from "../../src/format/codec.ts"
import { storageKey } from "../../src/registry/resource.ts"
import type { Registry } from "../../src/registry/registry.ts"
import { census } from "../../src/rewriter/census.ts"
import type { Store } from "../../src/store/store.ts"
import { cluster, secret, SECRETS } from "./cluster.ts"

const ref = (name: string) => ({ namespace: "default", name })
const keyOf = (name: string) => storageKey(SECRETS, ref(name))
const SAID = "/registry/secrets/default/planted: the value is plain text"
const REFUSED = { code: "PlaintextRefused", message: expect.stringContaining(SAID) }

const EVIL = { password: Buffer.from("evil").toString("base64") }

/** As somebody does who can write to the datastore and has no key. */
async function plant(store: Store, name: string, value = encodeObject(secret(name, "evil"))) {
  const key = keyOf(name)
  const entry = await store.get(key)
  const write = { key, value, fence: undefined }
  if (entry === undefined) return store.create(write)
  return store.update({ ...write, expected: entry.revision })
}

const dataOf = async (registry: Registry, name: string) =>
  (await registry.get(SECRETS, ref(name)))?.object.data

test("what is planted after the proof is refused by name until disable, and no rotation launders it", async () => {
  const { store, keys, registry, anotherServer, take, run } = await cluster()
  for (const name of ["own", "planted"])
    await registry.create(SECRETS, ref(name), secret(name, "x"))
  await take("enable")
  expect(keys.view.record.keyring.proven).toBeNull()
  await run()
  expect(keys.view.record.keyring.proven).toEqual(expect.any(Number))

  const before = await store.revision()
  await plant(store, "planted")
  for (const server of [registry, await anotherServer()]) {
    await expect(server.get(SECRETS, ref("planted"))).rejects.toMatchObject(REFUSED)
    await expect(server.list(SECRETS, {})).rejects.toMatchObject(REFUSED)
    const { items, unreadable } = await server.list(SECRETS, { leavesOut: true })
    expect(items.map(({ key }) => key)).toEqual([keyOf("own")])
    expect(unreadable).toEqual([{ key: keyOf("planted"), why: REFUSED.message }])
    const watch = server.watch(SECRETS, { after: before, signal: AbortSignal.timeout(10_000) })
    await expect(watch.next()).rejects.toMatchObject(REFUSED)
  }

  await take("rotate-keys")
  expect(await run()).toMatchObject({
    retired: ["aescbckey"],
    unreadable: 1,
    unreadableNames: [{ key: keyOf("planted"), why: REFUSED.message }],
  })
  expect((await census(store, keys.view)).unencrypted.names).toEqual([keyOf("planted")])
  await expect(registry.get(SECRETS, ref("planted"))).rejects.toMatchObject(REFUSED)

  await take("disable")
  expect(await dataOf(registry, "planted")).toEqual(EVIL)
  await run()
  await take("enable")
  await run()
  expect(await dataOf(registry, "planted")).toEqual(EVIL)
  expect((await census(store, keys.view)).unencrypted.stored).toBe(0)
})

test("where the proof cannot be made nothing is refused", async () => {
  const { store, keys, registry, take, run } = await cluster()
  await plant(store, "rubbish", Buffer.from("no object"))
  await registry.create(SECRETS, ref("own"), secret("own", "x"))
  await take("enable")
  await run()
  expect(keys.view.record.keyring.proven).toBeNull()
  await plant(store, "own")
  expect(await dataOf(registry, "own")).toEqual(EVIL)
})

test("what was told up to the proof may be plain text still, and nothing that was told later", async () => {
  const { keys, take, run } = await cluster()
  await take("enable")
  await run()
  const { open, record } = keys.view
  const proven = record.keyring.proven ?? Number.NaN
  const plain = encodeObject(secret("planted", "x"))
  expect(open(keyOf("planted"), plain, proven).plaintext).toEqual(plain)
  expect(() => open(keyOf("planted"), plain, proven + 1)).toThrow(SAID)
  expect(() => open(keyOf("planted"), plain)).toThrow(SAID)
})
