/** Bugs to be planted, without touching src/: that each is found shows that the checks see what they are for. */
import { setTimeout as sleep } from "node:timers/promises"
import { archive, inactiveKeys } from "../../src/keyring/keyring.ts"
import { Registry } from "../../src/registry/registry.ts"
import type { Keys, Observed } from "../../src/registry/keys.ts"
import type { Run } from "../../src/rewriter/run.ts"
import { isRunning, type Operation } from "../../src/rotation/operation.ts"
import type { Store, Update } from "../../src/store/store.ts"
import { COMPARES_ALL, type Compares } from "./compares.ts"
import { SECRETS } from "./secret.ts"
import { runAsServersDo, type ServerParts } from "./server.ts"

export interface Bug {
  /** What a server takes for its store. */
  readonly store: (store: Store) => Store
  /** What the datastore compares as it rewrites. */
  readonly compares: Compares
  readonly run: ServerParts["run"]
}

export const NO_BUG: Bug = {
  store: (store) => store,
  compares: COMPARES_ALL,
  run: runAsServersDo,
}

/** A store, or the keys, with some of the methods done otherwise. */
const withMethods = <T extends object>(whole: T, methods: Partial<T>): T =>
  new Proxy(whole, {
    get(target, name) {
      const value: unknown = Reflect.get(name in methods ? methods : target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })

export const BUGS = {
  "fence-left-out": {
    ...NO_BUG,
    store: (store) =>
      withMethods(store, {
        create: (write) => store.create({ ...write, fence: undefined }),
        update: (write) => store.update({ ...write, fence: undefined }),
      }),
  },
  "old-value-forgotten": {
    ...NO_BUG,
    store: (store) =>
      withMethods(store, {
        rows: async (range) => {
          const { rows, cursor } = await store.rows(range)
          return { rows: rows.map((row) => ({ ...row, previous: undefined })), cursor }
        },
      }),
  },
  "conflict-counted-as-done": {
    ...NO_BUG,
    store: (store) =>
      withMethods(store, {
        update: async (write: Update) => {
          const result = await store.update(write)
          if (result.outcome !== "conflict") return result
          return { outcome: "done", revision: result.current?.revision ?? write.expected }
        },
      }),
  },
  "rewrite-compares-no-bytes": { ...NO_BUG, compares: { bytes: false, fence: true } },
  "rewrite-compares-nothing": { ...NO_BUG, compares: { bytes: false, fence: false } },
  "proof-not-fenced": {
    ...NO_BUG,
    run: (run, failed) => runAsServersDo({ ...run, keys: retiringByAnyProof(run) }, failed),
  },
  "second-pass-left-out": {
    ...NO_BUG,
    run: (run, failed) => runAsServersDo({ ...run, keys: withoutSecondPass(run.keys) }, failed),
  },
  "one-phase": { ...NO_BUG, run: runInOnePhase },
  "no-second-try": {
    ...NO_BUG,
    run: (run, failed) =>
      runAsServersDo(run, async (error) => {
        await failed(error)
        await new Promise<never>(() => {})
      }),
  },
} as const satisfies Readonly<Record<string, Bug>>

/** Throws where there is none of that name. */
export function bugNamed(name: string | undefined): Bug {
  if (name === undefined) return NO_BUG
  const found = Object.entries(BUGS).find(([known]) => known === name)
  if (found === undefined)
    throw new Error(`there is no bug "${name}", only ${Object.keys(BUGS).join(", ")}`)
  return found[1]
}

/** As K3s does it: every Secret is written again, one by one, and then the old keys go. */
async function runInOnePhase(run: Run, failed: (error: unknown) => Promise<void>): Promise<void> {
  for (;;) {
    await rewriteOnce(run).catch(failed)
    await sleep(1_000)
  }
}

async function rewriteOnce({ store, keys, server, now }: Run): Promise<void> {
  const operation = await keys.operation()
  if (!isRunning(operation) || operation.holder !== server) return
  await keys.refresh()
  const registry = new Registry(store, keys)
  for (const stored of (await registry.list(SECRETS, {})).items)
    await registry.replace(stored, stored.object).catch(() => {})
  await keys.change("enable", ({ record: { keyring } }) => ({
    keyring: {
      ...archive(
        keyring,
        inactiveKeys(keyring).map(({ name }) => name),
      ),
      stage: "reencrypt_finished",
    },
    operation: { ...operation, state: "finished", ended: now().toISOString() },
  }))
}

/** The proof ends the operation that it was made for, whatever fence holds and whatever else runs by then. */
function retiringByAnyProof({ keys, server }: Run): Keys {
  let proven: Operation | undefined
  const asProven = ({ record }: Observed): Observed => ({
    record: { ...record, fence: proven?.fence ?? record.fence },
    operation: proven && { ...proven, holder: server },
  })
  return withMethods(keys, {
    operation: async () => (proven = await keys.operation()),
    change: (name, decide) =>
      keys.change(name, name === "retire" ? (observed) => decide(asProven(observed)) : decide),
  })
}

/** Where pass 1 ended, pass 2 has nothing to do. */
const withoutSecondPass = (keys: Keys): Keys =>
  withMethods(keys, {
    change: (name, decide) =>
      keys.change(name, (observed) => {
        const change = decide(observed)
        const upTo = observed.operation?.upTo
        if (name !== "second-pass" || change?.operation === undefined || upTo === undefined)
          return change
        return { ...change, operation: { ...change.operation, upTo } }
      }),
  })
