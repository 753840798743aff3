/** What the supervisor routes do: K3s' verbs and status, the token, recovery keys. */
import type { Supervisor } from "../api/supervisor.ts"
import type { DataDirPaths } from "../cluster/data-dir.ts"
import { passwordOf, randomPassword } from "../cluster/token.ts"
import { changeToken, createRecoveryKey } from "../cluster/unlock.ts"
import type { Keys } from "../registry/keys.ts"
import type { Registry } from "../registry/registry.ts"
import type { Control } from "../rewriter/control.ts"
import { statusOf } from "./status.ts"

export interface SupervisorParts {
  readonly keys: Keys
  readonly control: Control
  readonly registry: Registry
  readonly paths: DataDirPaths
  readonly now: () => Date
}

export const makeSupervisor = ({
  keys,
  control,
  registry,
  paths,
  now,
}: SupervisorParts): Supervisor => ({
  cacerts: keys.view.record.keyring.authorities.server.cert,
  status: () => statusOf(keys.view.record.keyring, registry),
  take: (request) => control.take(request),
  operation: () => keys.operation(),
  rotateToken: (newToken) =>
    changeToken(paths, keys, {
      password: newToken === undefined ? randomPassword() : passwordOf(newToken),
      now: now(),
    }),
  createRecoveryKey: () => createRecoveryKey(keys, { now: now() }),
})
