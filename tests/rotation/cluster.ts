import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { onTestFinished } from "vitest"
import { emptyKeyring } from "../../src/keyring/keyring.ts"
import { newClusterKey, newFence } from "../../src/keyring/record.ts"
import { createKeyring, Keys } from "../../src/registry/keys.ts"
import { Registry } from "../../src/registry/registry.ts"
import type { Batches } from "../../src/rewriter/batches.ts"
import { batchesBeside } from "../../src/rewriter/batches-beside.ts"
import { takeVerb } from "../../src/rewriter/take-verb.ts"
import { runOperations } from "../../src/rewriter/operations.ts"
import { type Pacer, runOperation } from "../../src/rewriter/run.ts"
import type { Verb } from "../../src/rotation/operation.ts"
import { openSqlite } from "../../src/store/sqlite.ts"
import type { Store } from "../../src/store/store.ts"
import { CALLER, verbsOf } from "../harness/verbs.ts"

export const SECRETS = { storagePrefix: "/registry/secrets/" }
/** A temporary folder until the end of the test. */
export function ownDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "keyturn-rotation-"))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  return dir
}

/** Until the end of the test. */
export function sqliteIn(dir: string): Store {
  const store = openSqlite({ path: join(dir, "state.db") })
  onTestFinished(() => store.close())
  return store
}

/** As servers on SQLite rewrite. `dir`: where the store is. */
export const inThread = (store: Store, dir: string): Batches =>
  batchesBeside(store, { kind: "sqlite", path: join(dir, "state.db") })

/** One server without API. */
export async function cluster(store: Store = sqliteIn(ownDir())) {
  const clusterKey = newClusterKey()
  const pair = { cert: "", key: "" }
  const keyring = emptyKeyring({ server: pair, client: pair }, { password: "pw" })
  const record = { epoch: 1, fence: newFence(), slots: [], keyring }
  await createKeyring(store, { record, clusterKey })
  const keys = await Keys.open(store, clusterKey)
  // Each reading is two seconds on, so that no two keys share a name.
  let seconds = 0
  const now = () => new Date(Date.UTC(2026, 10, 23, 12, 0, (seconds += 2)))
  const take = (verb: Verb, flags = {}) =>
    takeVerb({ verb, force: false, skip: false, ...flags }, CALLER, verbsOf(keys, now))
  const parts = { store, keys, server: "server-1", now, monotonicMs: () => 0 }
  const { signal } = new AbortController()
  const run = (pacer?: Pacer, batches?: Batches) =>
    runOperation({ ...parts, signal, ...(pacer && { pacer }), ...(batches && { batches }) })
  /** The same by another view of the store. */
  const takeOn = async (other: Store, verb: Verb) =>
    takeVerb(
      { verb, force: false, skip: false },
      CALLER,
      verbsOf(await Keys.open(other, clusterKey), now),
    )
  const runOn = async (other: Store) =>
    runOperation({ ...parts, store: other, keys: await Keys.open(other, clusterKey), signal })
  const runAll = (signal: AbortSignal, failed: (error: unknown) => Promise<void>) =>
    runOperations(
      { ...parts, signal },
      { began: () => {}, tookOver: () => {}, ended: async () => {}, failed },
    )
  const anotherServer = async () => new Registry(store, await Keys.open(store, clusterKey))
  return {
    now,
    store,
    keys,
    registry: new Registry(store, keys),
    anotherServer,
    take,
    takeOn,
    run,
    runOn,
    runAll,
  }
}

export const secret = (name: string, value: string) => ({
  kind: "Secret",
  apiVersion: "v1",
  metadata: { namespace: "default", name },
  data: { password: Buffer.from(value).toString("base64") },
  type: "Opaque",
})
