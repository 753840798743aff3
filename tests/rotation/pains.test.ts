/** What rotations did to users of K3s and others, and does not happen here; docs/pains.md has all of them. */
import { describe, expect, test } from "vitest"
import { KnownError } from "../../src/errors.ts"
import { census } from "../../src/rewriter/census.ts"
import type { Store } from "../../src/store/store.ts"
import { EtcdStores } from "../harness/etcd-stores.ts"
import { cluster, secret, SECRETS } from "./cluster.ts"

type Cluster = Awaited<ReturnType<typeof cluster>>

const ref = (name: string) => ({ namespace: "default", name })

/** Encrypted, and so many that they are read in several batches. */
async function filled(all: Cluster, count: number): Promise<Cluster> {
  await all.take("enable")
  await all.run()
  const create = (n: number) => all.registry.create(SECRETS, ref(`s${n}`), secret(`s${n}`, `s${n}`))
  // An etcd on a busy machine answers a hundred in time, not a thousand.
  for (let n = 0; n < count; n += 100)
    await Promise.all(Array.from({ length: Math.min(100, count - n) }, (_, i) => create(n + i)))
  return all
}

/** The store with another `rows` or `rewrite`. */
const withOther = (store: Store, other: Partial<Store>): Store =>
  new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(name in other ? other : target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })

/** What `call` does, but the `nth` time. */
function failing<Args extends unknown[], T>(
  call: (...args: Args) => Promise<T>,
  { nth, error }: { readonly nth: number; readonly error: KnownError },
): (...args: Args) => Promise<T> {
  let calls = 0
  return (...args) => (++calls === nth ? Promise.reject(error) : call(...args))
}

/** Nothing is under the first key any more, and every value is what it was. */
async function expectTurned({ store, keys, registry }: Cluster, count: number): Promise<void> {
  const { keyring } = (await keys.refresh()).record
  expect(keyring.keys.map(({ state }) => state)).toEqual(["archived", "active"])
  expect((await census(store, keys.view)).keys.get("aescbckey")?.stored).toBe(0)
  const { items } = await registry.list(SECRETS, {})
  expect(items).toHaveLength(count)
  for (const { object, stale } of items) {
    expect(object).toMatchObject({ data: secret("", object.metadata.name ?? "").data })
    expect(stale).toBe(false)
  }
}

const COUNT = 1_200

describe.each(["SQLite", "etcd"])("on %s", (engine) => {
  const etcd = engine === "etcd" ? new EtcdStores() : undefined
  const open = async () => cluster(await etcd?.open())

  test("history is forgotten while a rewrite reads it: the whole of it is rewritten, and only then the key goes", async () => {
    // https://github.com/k3s-io/k3s/issues/5933, https://github.com/k3s-io/k3s/issues/5934 (S1 4): the list expired half way, the
    // error was swallowed, the old key removed.
    const all = await filled(await open(), COUNT)
    const { store } = all
    await all.take("rotate-keys")
    const forgetful = withOther(store, {
      async rewrite(fence, replacements) {
        const result = await store.rewrite(fence, replacements)
        await store.compact(await store.revision())
        return result
      },
    })
    const ended = await all.runOn(forgetful)
    expect(ended).toMatchObject({ state: "finished", retired: ["aescbckey"], kept: {} })
    await expectTurned(all, COUNT)
  })

  test("a read that fails half way ends no rewrite: the key stays, and the next try rewrites the rest", async () => {
    // https://github.com/k3s-io/k3s/issues/5933, https://github.com/k3s-io/k3s/pull/5936 (S1 4)
    const all = await filled(await open(), COUNT)
    const { store, keys } = all
    await all.take("rotate-keys")
    const error = new KnownError("Compacted", "the list expired")
    const rows = failing(store.rows.bind(store), { nth: 2, error })
    await expect(all.runOn(withOther(store, { rows }))).rejects.toBe(error)
    expect(await keys.operation()).toMatchObject({ state: "running", retired: [] })
    expect(keys.view.record.keyring.keys.map(({ state }) => state)).toEqual(["active", "active"])
    expect((await census(store, keys.view)).keys.get("aescbckey")?.stored).toBeGreaterThan(0)
    await all.run()
    await expectTurned(all, COUNT)
  })
})

test("a rotation that failed is not followed by another: every key stays until nothing needs it", async () => {
  // https://github.com/rancher/rancher/issues/32976 (S1 10): keys turned twice after a failure, and the one before was lost.
  const all = await filled(await cluster(), 3)
  const { store, keys, registry } = all
  const key = "/registry/secrets/default/s0"
  const backup = (await store.get(key))?.value ?? Buffer.alloc(0)
  await all.take("rotate-keys")
  const error = new KnownError("StoreUnavailable", "the disk is sick")
  const rewrite = failing(store.rewrite.bind(store), { nth: 1, error })
  await expect(all.runOn(withOther(store, { rewrite }))).rejects.toBe(error)
  for (const verb of ["rotate-keys", "prepare", "rotate"] as const)
    await expect(all.take(verb), verb).rejects.toMatchObject({ code: "RotationUnderWay" })
  expect(keys.view.record.keyring.keys.map(({ state }) => state)).toEqual(["active", "active"])
  expect((await registry.list(SECRETS, {})).items).toHaveLength(3)

  await all.run()
  await expectTurned(all, 3)
  await all.take("rotate-keys")
  await all.run()
  expect(keys.view.record.keyring.keys.map(({ state }) => state)).toEqual([
    "archived",
    "archived",
    "active",
  ])
  expect(keys.view.open(key, backup).stale).toBe(true)
})
