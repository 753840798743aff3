/** The numbers behind keyturn_secrets_stored equal a scan at the revision they state, whatever is done to the store. */
import fc from "fast-check"
import { expect, onTestFinished, test } from "vitest"
import { storageKey } from "../../src/registry/resource.ts"
import type { Keys } from "../../src/registry/keys.ts"
import { liveCensus } from "../../src/rewriter/census.ts"
import { FOREIGN, PLAIN, StoredSecrets } from "../../src/rewriter/stored-secrets.ts"
import type { Store } from "../../src/store/store.ts"
import { until } from "../harness/process.ts"
import { cluster, secret, SECRETS } from "./cluster.ts"

const NAMES = ["a", "b", "c", "d"]
const ref = (name: string) => ({ namespace: "default", name })

async function scan(store: Store, keys: Keys, revision: number) {
  const options = { prefix: SECRETS.storagePrefix, revision }
  const { keys: found, foreign, unencrypted } = await liveCensus(store, keys.view, options)
  return new Map<unknown, number>([
    ...Array.from(found, ([name, { stored }]) => [name, stored] as const),
    [FOREIGN, foreign.values().reduce((sum, { stored }) => sum + stored, 0)],
    [PLAIN, unencrypted.stored],
  ])
}

const COMMANDS = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.tuple(fc.constant("put" as const), fc.constantFrom(...NAMES)) },
    { weight: 2, arbitrary: fc.tuple(fc.constant("remove" as const), fc.constantFrom(...NAMES)) },
    { weight: 2, arbitrary: fc.tuple(fc.constant("plant" as const), fc.constantFrom(...NAMES)) },
    {
      weight: 2,
      arbitrary: fc.tuple(
        fc.constant("verb" as const),
        fc.constantFrom("enable" as const, "disable" as const, "rotate-keys" as const),
      ),
    },
  ),
  { minLength: 1, maxLength: 12 },
)
type Commands = typeof COMMANDS extends fc.Arbitrary<infer T> ? T : never

async function holds(commands: Commands) {
  const { store, keys, registry, take, run } = await cluster()
  const stop = new AbortController()
  const stored = new StoredSecrets(store, keys)
  const following = stored.follow(stop.signal)
  onTestFinished(async () => {
    stop.abort()
    await following
  })
  const changed = async (name: string, value?: Buffer) => {
    const key = storageKey(SECRETS, ref(name))
    const entry = await store.get(key)
    if (value !== undefined) {
      const write = { key, value, fence: undefined }
      await (entry ? store.update({ ...write, expected: entry.revision }) : store.create(write))
    } else if (entry !== undefined) await registry.remove({ key, revision: entry.revision })
  }
  for (const [act, on] of commands) {
    if (act === "verb") {
      await take(on).catch(() => undefined)
      await run()
    } else if (act === "put") {
      await changed(on)
      await registry.create(SECRETS, ref(on), secret(on, String(Math.random())))
    } else await changed(on, act === "plant" ? Buffer.from("k8s:enc:aescbc:v1:lost:x") : undefined)
    const reached = await store.revision()
    const known = await until(() => {
      const seen = stored.read()
      return seen?.view === keys.view && seen.revision >= reached ? seen : undefined
    })
    expect(known.counts).toEqual(await scan(store, keys, known.revision))
  }
}

test("after any writes, deletes, rotations and foreign values they equal a scan", {
  timeout: 120_000,
}, async () => {
  await fc.assert(fc.asyncProperty(COMMANDS, holds), { numRuns: 25 })
})
