/** The keyring of a datastore that is only looked at: nothing is made, taken in or written. */
import { KnownError } from "../errors.ts"
import { emptyKeyring, type Keyring } from "../keyring/keyring.ts"
import { openRecord, readOutside } from "../keyring/record.ts"
import { makeView, type View, viewOfKeys } from "../registry/view.ts"
import type { StoreReader } from "../store/store.ts"
import { type Secrets, unlockByToken } from "./bootstrap.ts"
import { type ConfigurationText, keyringFrom } from "./encryption-files.ts"

export interface Reading extends Secrets {
  /** For a datastore without a keyring, as K3s' is; null: then no key is known. */
  readonly configuration: ConfigurationText | null
}

/** Throws SlotDidNotOpen, TokenInvalid, RecordCorrupt, ConfigInvalid, and UsageInvalid where there is a keyring and a
 *  configuration. */
export async function readView(store: StoreReader, reading: Reading): Promise<View> {
  const stored = await store.record("keyring")
  if (stored === undefined) return viewOfKeys(configured(reading))
  if (reading.configuration !== null)
    throw new KnownError(
      "UsageInvalid",
      "the datastore holds a keyring, which has the keys: leave --encryption-provider-config out",
    )
  const clusterKey = await unlockByToken(reading, readOutside(stored.value).slots)
  return makeView(openRecord(stored.value, clusterKey), stored.version)
}

function configured({ configuration }: Reading): Keyring {
  const none = { cert: "", key: "" }
  const empty = emptyKeyring({ server: none, client: none }, { password: "" })
  return configuration === null ? empty : keyringFrom(empty, configuration, "")
}
