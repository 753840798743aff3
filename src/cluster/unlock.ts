/** The secrets that open the keyring, changed while a server runs: another token, a recovery key. */
import { randomBytes } from "node:crypto"
import { rmSync } from "node:fs"
import { isKnown, KnownError } from "../errors.ts"
import type { Keyring } from "../keyring/keyring.ts"
import { newClusterKey } from "../keyring/record.ts"
import { makeSlot } from "../keyring/slots.ts"
import type { Keys } from "../registry/keys.ts"
import type { HistoryEntry } from "../rotation/history.ts"
import { stepSync } from "../step.ts"
import { type DataDirPaths, writeToken } from "./data-dir.ts"
import { moveDurably, readIfPresent, writeDurably } from "./files.ts"
import { caHash, formatToken } from "./token.ts"

interface Entered {
  /** For the history; absent: nobody asked for it. */
  readonly entry?: HistoryEntry
}

/** Makes `password` the token in place of the one before: under a new cluster key, sealed again for every other slot; archived
 *  keys too are sealed again, for the whole keyring is one box. From its start to the end of {@link keepToken}, which must
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
    clusterKey: newClusterKey(),
    scrubs: true,
    keyring: { ...record.keyring, password },
    slots: [slot, ...record.slots.filter(({ kind }) => kind !== "token")],
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
export async function forgetOldToken(paths: DataDirPaths, keys: Keys): Promise<void> {
  try {
    await keys.scrub()
  } catch (error) {
    if (!isKnown(error)) throw error
    const done = `the token is changed and lies in ${paths.token}, but the old one still opens copies of the datastore until its files are cleared, which the server tries again by itself`
    throw new KnownError(error.code, `${done}: ${error.message}`, { cause: error })
  }
}

/** In K3s' long form. */
export const tokenFor = ({ authorities, password }: Keyring): string =>
  formatToken({ caHash: caHash(authorities.server.cert), user: "server", password })

/** Adds a slot and returns the recovery key, which is stored nowhere. */
export async function createRecoveryKey(
  keys: Keys,
  { now, entry }: { readonly now: Date } & Entered,
): Promise<string> {
  const recoveryKey = `keyturn-recovery-${randomBytes(32).toString("base64url")}`
  const slot = await makeSlot({ kind: "recovery", secret: recoveryKey, now })
  await keys.change("recovery-key", ({ record }) => ({
    slots: [...record.slots, slot],
    ...(entry && { entry }),
  }))
  return recoveryKey
}
