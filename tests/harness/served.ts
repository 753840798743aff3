/** A server inside the test's process: the real store, keyring, API and listener over TLS, without a data directory's files
 *  and without a process, so that a test can turn keys and compact at the moment it wants. */

import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createApi } from "../../src/api/api.ts"
import { parseTokenFile } from "../../src/api/request/auth.ts"
import { runNamespaces } from "../../src/api/verbs/namespace-controller.ts"
import { ensureNamespaces } from "../../src/api/verbs/namespaces.ts"
import { issueAdmin, issueServing, makeAuthorities } from "../../src/cluster/issue.ts"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { emptyKeyring, newKey, withKey } from "../../src/keyring/keyring.ts"
import { newClusterKey, newFence } from "../../src/keyring/record.ts"
import { createKeyring, Keys } from "../../src/registry/keys.ts"
import { Registry } from "../../src/registry/registry.ts"
import { listen } from "../../src/server/listener.ts"
import { makeMembership } from "../../src/server/membership.ts"
import { makeSupervisor } from "../../src/server/supervisor.ts"
import { openSqlite } from "../../src/store/sqlite.ts"
import type { Store } from "../../src/store/store.ts"
import { verbsOf } from "./verbs.ts"

export interface Served extends AsyncDisposable {
  readonly port: number
  readonly store: Store
  readonly keys: Keys
  readonly registry: Registry
  /** What the API takes for the time, where it is set. */
  readonly clock: { now: Date | undefined }
  /** What was logged as a failure or a warning. */
  readonly errors: readonly unknown[]
  /** PEM: whom clients trust, and the administrator's client certificate. */
  readonly ca: string
  readonly admin: { readonly cert: string; readonly key: string }
  readonly clientCa: { readonly cert: string; readonly key: string }
  /** As a server ends: watches, then requests that run, then the store. */
  close(): Promise<void>
}

/** The tokens of the recorded requests. */
const TOKENS = parseTokenFile(
  "tokens",
  `admin,admin,admin-uid,"system:masters"\nlimited,limited,limited-uid,"limited"\n`,
)
export const SERVER_PASSWORD = "the-server-password"

const now = () => new Date()

/** `through`: what stands between the server and its store. */
export async function serveInProcess(
  through: (store: Store) => Store = (store) => store,
): Promise<Served> {
  const dir = mkdtempSync(join(tmpdir(), "keyturn-served-"))
  const store = through(openSqlite({ path: join(dir, "state.db") }))
  const authorities = await makeAuthorities(now())
  const keys = await newKeys(store, authorities)
  const registry = new Registry(store, keys)
  await ensureNamespaces(registry, now())
  const stop = new AbortController()
  const { signal } = stop
  const clock: Served["clock"] = { now: undefined }
  const errors: unknown[] = []
  const log = {
    error: (of: object) => void errors.push(of),
    warn: (of: object) => void errors.push(of),
  }
  const paths = dataDirPaths(dir)
  const own = {
    registry,
    store,
    paths,
    files: [],
    shown: () => keys.view.record.keyring,
    trouble: () => undefined,
    servers: async () => [],
    monotonicMs: () => performance.now(),
    limits: { keyMaxAgeMs: null, autoRotate: false },
    engine: "sqlite" as const,
    agree: { reload: "restart" as const, signal },
  }
  const supervisor = makeSupervisor({ ...verbsOf(keys, now), ...own })
  const handle = createApi({
    registry,
    supervisor: {
      ...supervisor,
      ...makeMembership({ embedded: undefined, registry, nodeName: "n1" }),
    },
    health: () => ({ published: true }),
    tokens: TOKENS,
    serverPassword: () => keys.view.record.keyring.password,
    version: "0.0.0",
    now: () => clock.now ?? now(),
    monotonicMs: () => performance.now(),
    log,
    signal,
  })
  const names = ["localhost", "127.0.0.1"]
  const listener = await listen({
    bindAddress: "127.0.0.1",
    port: 0,
    serving: await issueServing(authorities.server, { names, now: now() }),
    clientCa: authorities.client.cert,
    handle,
  })
  const namespaces = runNamespaces({ registry, now, log, signal })
  const close = async () => {
    stop.abort()
    await namespaces
    await listener.close()
    await store.close()
    rmSync(dir, { recursive: true, force: true })
  }
  return {
    port: listener.port,
    store,
    keys,
    registry,
    clock,
    errors,
    ca: authorities.server.cert,
    admin: await issueAdmin(authorities.client, { now: now() }),
    clientCa: authorities.client,
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function newKeys(
  store: Store,
  authorities: Awaited<ReturnType<typeof makeAuthorities>>,
): Promise<Keys> {
  const clusterKey = newClusterKey()
  const empty = emptyKeyring(authorities, { password: SERVER_PASSWORD })
  const key = newKey(empty, { provider: "aescbc", now: now() })
  if (key === undefined) throw new Error("a new keyring has no first key")
  const keyring = { ...withKey(empty, key), writer: key.name, intent: "encrypted" } as const
  const record = { epoch: 1, fence: newFence(), slots: [], keyring }
  await createKeyring(store, { record, clusterKey })
  return Keys.open(store, clusterKey)
}
