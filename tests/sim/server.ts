/** One server of a simulation: the real keyring, registry and operations over a connection that may fail at any call. */
import type { KeyObject } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown } from "../../src/errors.ts"
import { emptyKeyring, newKey, withKey } from "../../src/keyring/keyring.ts"
import { newFence, type OpenRecord } from "../../src/keyring/record.ts"
import type { KeyProvider } from "../../src/providers/provider.ts"
import { createKeyring, Keys } from "../../src/registry/keys.ts"
import { Registry } from "../../src/registry/registry.ts"
import { runOperations } from "../../src/rewriter/operations.ts"
import type { Run } from "../../src/rewriter/run.ts"
import type { Store } from "../../src/store/store.ts"
import { type Life } from "./world.ts"

const RETRY_MS = 1_000

export interface Running {
  readonly store: Store
  readonly keys: Keys
  readonly registry: Registry
}

export interface ServerParts {
  readonly life: Life
  readonly open: () => Promise<Store>
  readonly clusterKey: KeyObject
  /** For an empty datastore; null: leave it unencrypted. */
  readonly firstKey: KeyProvider | null
  readonly now: () => Date
  readonly monotonicMs: () => number
  /** Called with what nobody else hears of. */
  readonly failed: (error: unknown) => void
  readonly run: (run: Run, failed: (error: unknown) => Promise<void>) => Promise<void>
}

/** Starts the server; resolves when it takes requests. */
export async function serve(parts: ServerParts): Promise<Running> {
  const store = await again(parts, parts.open)
  const keys = await again(parts, () => openKeys(store, parts))
  const { signal } = new AbortController()
  const { now, monotonicMs, life } = parts
  const told = parts.failed
  void follow(parts, { store, keys, signal }).catch(told)
  const run = { store, keys, server: life.server, now, monotonicMs, signal }
  const failed = (error: unknown) => {
    told(error)
    return sleep(RETRY_MS)
  }
  void parts.run(run, failed).catch(told)
  return { store, keys, registry: new Registry(store, keys) }
}

export const runAsServersDo: ServerParts["run"] = (run, failed) =>
  runOperations(run, { began: () => {}, tookOver: () => {}, ended: async () => {}, failed })

/** Until the datastore can be asked. */
async function again<T>({ failed }: ServerParts, action: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await action()
    } catch (error) {
      failed(error)
      await sleep(RETRY_MS)
    }
  }
}

async function openKeys(store: Store, { clusterKey, firstKey, now }: ServerParts): Promise<Keys> {
  if ((await store.record("keyring")) === undefined && (await store.fence()) === undefined) {
    const isEmpty =
      (await store.list({ prefix: "/registry/secrets/", limit: 1 })).entries.length === 0
    await createKeyring(store, {
      clusterKey,
      record: firstRecord(isEmpty ? firstKey : null, now()),
    })
  }
  return Keys.open(store, clusterKey)
}

function firstRecord(provider: KeyProvider | null, now: Date): OpenRecord {
  const authority = { cert: "", key: "" }
  const empty = emptyKeyring({ server: authority, client: authority }, { password: "" })
  const key = provider === null ? undefined : newKey(empty, { provider, now })
  const keyring =
    key === undefined
      ? empty
      : { ...withKey(empty, key), writer: key.name, intent: "encrypted" as const }
  return { epoch: 1, fence: newFence(), slots: [], keyring }
}

/** As server/follow.ts does, without the files. */
async function follow(
  { failed }: ServerParts,
  { store, keys, signal }: { store: Store; keys: Keys; signal: AbortSignal },
): Promise<void> {
  for await (const _ of store.watchRecords(signal)) {
    await keys.refresh().catch((error: unknown) => {
      if (!isKnown(error)) throw error
      failed(error)
    })
  }
}
