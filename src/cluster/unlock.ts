/** The secrets that open the keyring, changed while a server runs: another token, a recovery key. */
import { randomBytes } from "node:crypto"
import { newClusterKey } from "../keyring/record.ts"
import { makeSlot } from "../keyring/slots.ts"
import type { Keys } from "../registry/keys.ts"

/** A new cluster key, sealed for the new token in place of the old one and again for every other slot; archived keys too are
 *  sealed again, for the whole keyring is one box. */
export async function rotateToken(
  keys: Keys,
  { password, now }: { readonly password: string; readonly now: Date },
): Promise<void> {
  const clusterKey = newClusterKey()
  const slot = await makeSlot({ kind: "token", secret: password, now })
  await keys.change(({ record }) => ({
    clusterKey,
    slots: [slot, ...record.slots.filter(({ kind }) => kind !== "token")],
  }))
}

/** Adds a slot and returns the recovery key, which is stored nowhere. */
export async function createRecoveryKey(keys: Keys, { now }: { readonly now: Date }): Promise<string> {
  const recoveryKey = `keyturn-recovery-${randomBytes(32).toString("base64url")}`
  const slot = await makeSlot({ kind: "recovery", secret: recoveryKey, now })
  await keys.change(({ record }) => ({ slots: [...record.slots, slot] }))
  return recoveryKey
}
