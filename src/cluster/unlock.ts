/** The secrets that open the keyring, changed while a server runs: another token, a recovery key. */
import { randomBytes } from "node:crypto"
import { rmSync } from "node:fs"
import { KnownError } from "../errors.ts"
import type { Keyring } from "../keyring/keyring.ts"
import { newClusterKey } from "../keyring/record.ts"
import { makeSlot, type OpenSlot } from "../keyring/slots.ts"
import type { Change, Keys } from "../registry/keys.ts"
import type { HistoryEntry } from "../rotation/history.ts"
import { stepSync } from "../step.ts"
import { type DataDirPaths, writeToken } from "./data-dir.ts"
import { moveDurably, readIfPresent, writeDurably } from "./files.ts"
import { caHash, formatToken } from "./token.ts"

interface Entered {
  /** For the history; absent: nobody asked for it. */
  readonly entry?: HistoryEntry
}

/** The keyring under a new cluster key, which these slots alone open: any other opens at most the keyring of before, whose clearing
 *  from the datastore's files is due. Archived keys too are sealed again, for the whole keyring is one box. Only one such
 *  change may run at a time: Keys knows the cluster key of now and one that may follow. */
const openedBy = (
  slots: readonly OpenSlot[],
): Pick<Required<Change>, "slots" | "clusterKey" | "scrubs"> => ({
  slots,
  clusterKey: newClusterKey(),
  scrubs: true,
})

/** Makes `password` the token in place of the one before. From its start to the end of {@link keepToken}, which must
 *  follow, two files hold the old token and the new one, so that a crash leaves one that opens; so only one may run at a time. */
export async function changeToken(
  paths: DataDirPaths,
  keys: Keys,
  { password, now, entry }: { readonly password: string; readonly now: Date } & Entered,
): Promise<string> {
  const slot = await makeSlot({ kind: "token", secret: password, now })
  const token = tokenFor({ ...keys.view.record.keyring, password })
  stepSync("next-token", () => writeDurably(paths.nextToken, `${token}\n`))
  await keys.change("change-token", ({ record }) => ({
    ...openedBy([slot, ...record.slots.filter(({ kind }) => kind !== "token")]),
    keyring: { ...record.keyring, password },
    ...(entry && { entry }),
  }))
  return token
}

/** Writes the token that opens the keyring where people and the next start look for it; also on a full disk where it lies beside
 *  already. */
export function keepToken(paths: DataDirPaths, token: string): void {
  if (readIfPresent(paths.nextToken)?.trim() === token)
    stepSync("keep-token", () => moveDurably(paths.nextToken, paths.token))
  writeToken(paths, token)
  stepSync("drop-next-token", () => rmSync(paths.nextToken, { force: true }))
}

/** Leaves no keyring that the old token opens in the files of the datastore; to be called after {@link keepToken}. Throws
 *  StoreUnavailable: the new token holds all the same. */
export const forgetOldToken = (paths: DataDirPaths, keys: Keys): Promise<void> =>
  keys.scrubAfter(
    `the token is changed and lies in ${paths.token}, but the old one still opens copies of the datastore until its files are cleared, which the server tries again by itself`,
  )

/** In K3s' long form. */
export const tokenFor = ({ authorities, password }: Keyring): string =>
  formatToken({ caHash: caHash(authorities.server.cert), user: "server", password })

export interface RecoveryKeyMade {
  /** Stored nowhere. */
  readonly recoveryKey: string
  /** Of its slot. */
  readonly id: string
}

/** Adds a slot. */
export async function createRecoveryKey(
  keys: Keys,
  { now, entry }: { readonly now: Date } & Entered,
): Promise<RecoveryKeyMade> {
  const recoveryKey = `keyturn-recovery-${randomBytes(32).toString("base64url")}`
  const slot = await makeSlot({ kind: "recovery", secret: recoveryKey, now })
  await keys.change("recovery-key", ({ record }) => ({
    slots: [...record.slots, slot],
    ...(entry && { entry: { ...entry, target: slot.id } }),
  }))
  return { recoveryKey, id: slot.id }
}

/** Takes the slot away; {@link forgetRevoked} must follow. Throws NotFound; UsageInvalid for the token's. */
export async function revokeRecoveryKey(keys: Keys, id: string, { entry }: Entered): Promise<void> {
  await keys.change("revoke-recovery-key", ({ record: { slots } }) => {
    const slot = slots.find((one) => one.kind !== "server" && one.id === id)
    if (slot === undefined) throw noRecoveryKey(id)
    if (slot.kind !== "recovery") {
      const instead = "which is not revoked but replaced: run: keyturn token rotate"
      throw new KnownError("UsageInvalid", `"${id}" is the id of the server token, ${instead}`)
    }
    return { ...openedBy(slots.filter((one) => one !== slot)), ...(entry && { entry }) }
  })
}

/** More than any id. */
const SHOWN_MAX = 64

/** Also where it was revoked before, and the answer to that was lost. */
const noRecoveryKey = (id: string) =>
  new KnownError(
    "NotFound",
    `no recovery key has the id "${id.slice(0, SHOWN_MAX)}" now; for those that there are run: keyturn recovery-key list`,
  )

/** Leaves no keyring that it opens in the files of the datastore. Throws StoreUnavailable: it is revoked all the same. */
export const forgetRevoked = (keys: Keys, id: string): Promise<void> =>
  keys.scrubAfter(
    `the recovery key ${id} is revoked, but still opens copies of the datastore until its files are cleared, which the server tries again by itself`,
  )
