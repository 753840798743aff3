/** What the supervisor routes do: K3s' verbs and status, the token, recovery keys. */
import { randomUUID } from "node:crypto"
import type { Supervisor } from "../api/routes/supervisor.ts"
import type { DataDirPaths } from "../cluster/data-dir.ts"
import { saveSnapshot } from "../cluster/snapshots.ts"
import { passwordOf, randomPassword } from "../cluster/token.ts"
import {
  changeToken,
  createRecoveryKey,
  forgetOldToken,
  forgetRevoked,
  keepToken,
  revokeRecoveryKey,
  tokenFor,
} from "../cluster/unlock.ts"
import type { Keyring } from "../keyring/keyring.ts"
import type { Registry } from "../registry/registry.ts"
import type { Limits } from "../rotation/due.ts"
import { type Caller, entryOf, type EnteredVerb } from "../rotation/history.ts"
import type { Store } from "../store/store.ts"
import { census, countsOf } from "../rewriter/census.ts"
import { destroyKey } from "../rewriter/destroy.ts"
import { takeVerb, type VerbParts } from "../rewriter/take-verb.ts"
import { planVerb } from "../rewriter/plan.ts"
import type { Datastore } from "../store/datastore.ts"
import { listKeys, listRecoveryKeys } from "./key-list.ts"
import { type AgreeOptions, onceAgreed } from "./agree.ts"
import { lookAtLimits } from "./limits.ts"
import { verify } from "../rewriter/verify.ts"
import { oneByOne } from "../one-by-one.ts"
import { outOfReach, serversBehind } from "./out-of-reach.ts"
import { archivedKeysInUse, type ServerStatus, statusOf } from "./status.ts"
import { refuseVacuum } from "./vacuum.ts"

export interface SupervisorParts extends VerbParts {
  readonly registry: Registry
  readonly paths: DataDirPaths
  readonly store: Store
  /** Those of the database that this server can read. */
  readonly files: readonly string[]
  readonly monotonicMs: () => number
  /** The keyring as this server shows it. */
  readonly shown: () => Keyring
  /** Why the rewriting stands still; undefined where it does not. */
  readonly trouble: () => string | undefined
  readonly servers: () => Promise<readonly ServerStatus[]>
  readonly limits: Limits
  readonly engine: Datastore["kind"]
  readonly agree: Omit<AgreeOptions, "monotonicMs">
}

/** What concerns a cluster on the embedded etcd is membership.ts'. */
export function makeSupervisor(parts: SupervisorParts): Omit<Supervisor, "takeIn" | "leave"> {
  const { keys, registry, paths, store, nodeName, shown, now, taken } = parts
  const changes = oneByOne()
  const snapshots = oneByOne()
  /** What goes through the whole datastore. */
  const readings = oneByOne()
  /** The token that holds now: another server may have changed it since this one did. */
  const keep = () => keepToken(paths, tokenFor(keys.view.record.keyring))
  const entered = (verb: EnteredVerb, caller: Caller) =>
    entryOf({ id: randomUUID(), verb, caller, server: nodeName, target: null, now: now() })
  const change = async (newToken: string | undefined, caller: Caller) => {
    const password = newToken === undefined ? randomPassword() : passwordOf(newToken)
    // An earlier change may have failed to write the file, or its outcome may be unknown; this one may not take away the second copy.
    await keys.refresh()
    keep()
    const entry = entered("token rotate", caller)
    const token = await changeToken(paths, keys, { password, now: now(), entry })
    taken(entry)
    keep()
    await forgetOldToken(paths, keys)
    return token
  }
  return {
    cacerts: keys.view.record.keyring.authorities.server.cert,
    async status() {
      await keys.refresh()
      const { warnings } = await lookAtLimits({ keys, limits: parts.limits, now })
      return statusOf(shown(), { registry, servers: await parts.servers(), warnings })
    },
    archivedKeysInUse: (signal) =>
      readings(async () => archivedKeysInUse(store, await keys.refresh(), signal)),
    listKeys: (signal) =>
      readings(async () => {
        const view = await keys.refresh()
        const counting = census(store, view, { signal })
        const [found, usage] = await Promise.all([counting, keys.writes.read()])
        return listKeys(view.record.keyring, { counts: countsOf(found), usage, now: now() })
      }),
    async destroyKey(name, caller) {
      const entry = { ...entered("keys destroy", caller), target: name }
      const { key, isNew } = await destroyKey({ store, keys, entry, now }, name)
      if (isNew) taken(entry)
      await parts.publish()
      const away = await serversBehind(parts, keys.view.record.epoch)
      const copies = outOfReach(paths, { engine: parts.engine, away })
      return { destroyed: key.destroyed, outOfReach: copies }
    },
    async take(request, caller) {
      if (request.vacuum) refuseVacuum(parts.engine)
      const agree = { ...parts.agree, monotonicMs: parts.monotonicMs }
      return onceAgreed(() => takeVerb(request, caller, parts), agree)
    },
    plan: (verb, signal) => readings(() => planVerb(verb, { ...parts, signal })),
    history: () => keys.history(),
    verify: (asked) =>
      readings(async () => {
        // The files that are searched are found by their path.
        store.aside?.refuseAstray()
        return verify(store, await keys.refresh(), { ...asked, files: parts.files })
      }),
    async operation() {
      const operation = await keys.operation()
      const trouble = operation?.holder === nodeName ? parts.trouble() : undefined
      return operation && trouble !== undefined ? { ...operation, trouble } : operation
    },
    rotateToken: (newToken, caller) => changes(() => change(newToken, caller)),
    async createRecoveryKey(caller) {
      const entry = entered("recovery-key create", caller)
      const made = await createRecoveryKey(keys, { now: now(), entry })
      taken({ ...entry, target: made.id })
      return made
    },
    async recoveryKeys() {
      const { record } = await keys.refresh()
      return listRecoveryKeys(record.slots, now())
    },
    revokeRecoveryKey: (id, caller) =>
      changes(async () => {
        const entry = { ...entered("recovery-key revoke", caller), target: id }
        await revokeRecoveryKey(keys, id, { entry })
        taken(entry)
        await forgetRevoked(keys, id)
      }),
    async saveSnapshot(name, caller) {
      const saved = await snapshots(() =>
        saveSnapshot(paths, { store, name, nodeName, now: now() }),
      )
      taken({ verb: "snapshot save", target: saved.path, ...caller })
      return saved
    },
  }
}
