/** From a data directory and a datastore to an opened keyring. Where the datastore has none yet it is made, from K3s' files or
 *  anew; a key that only a local file knows is taken in before any file is written. */
import { type KeyObject, randomUUID } from "node:crypto"
import { bug, isKnown, KnownError } from "../errors.ts"
import { isEncrypted } from "../format/value.ts"
import { emptyKeyring, type Keyring, newKey, withKey } from "../keyring/keyring.ts"
import { newClusterKey, newFence, readOutside } from "../keyring/record.ts"
import { makeSlot, opensBy, type Slot, unlock } from "../keyring/slots.ts"
import type { KeyProvider } from "../providers/provider.ts"
import { createKeyring, Keys } from "../registry/keys.ts"
import { openObject, viewOfKeys } from "../registry/view.ts"
import { entryOf, BY_RECOVERY_KEY } from "../rotation/history.ts"
import { HEALTH_KEY } from "../store/kine.ts"
import type { Store, StoredRecord } from "../store/store.ts"
import { readAuthorities } from "./certificates.ts"
import { makeAuthorities } from "./issue.ts"
import { type DataDirPaths, readToken, removeToken, writeToken } from "./data-dir.ts"
import {
  type ConfigurationText,
  destroyedIn,
  keyringFrom,
  readStage,
  withKeysOf,
} from "./encryption-files.ts"
import { readIfPresent } from "./files.ts"
import { passwordOf, randomPassword } from "./token.ts"
import { changeToken, forgetOldToken, keepToken, tokenFor } from "./unlock.ts"

/** What may open a keyring. */
export interface Secrets {
  readonly paths: DataDirPaths
  /** As given by the operator; null: the data directory's. */
  readonly token: string | null
  readonly recoveryKey: string | null
}

export interface Bootstrap extends Secrets {
  readonly store: Store
  /** The name of this server. */
  readonly server: string
  /** What --encryption-provider-config names. */
  readonly configuration: ConfigurationText | null
  /** For an empty datastore: make a first key of this provider; null: leave it unencrypted. */
  readonly firstKey: KeyProvider | null
  readonly now: () => Date
}

interface Opened {
  readonly keys: Keys
  /** `found`: there was none, and it was made. `recovered`: by the recovery key; the token was made or set now, and earlier ones
   *  open earlier backups only. */
  readonly how: "found" | "joined" | "recovered"
}

export interface OpenedKeyring extends Opened {
  /** Names of keys that only a file had, taken into the keyring now: it is an older one, or the file a newer. */
  readonly takenIn: readonly string[]
  /** Names of destroyed keys whose bytes are in the file of --encryption-provider-config; they are not taken in. */
  readonly destroyed: readonly string[]
}

/** Throws RecordCorrupt, SlotDidNotOpen, TokenInvalid, KeyNameTaken, KeyDidNotOpen, ConfigInvalid: nothing is changed then. */
export async function openKeyring(boot: Bootstrap): Promise<OpenedKeyring> {
  const stored = await storedKeyring(boot.store)
  const opened = stored ? await join(boot, readOutside(stored.value).slots) : await found(boot)
  const takenIn = await takeInLocalKeys(boot, opened.keys)
  const { keyring } = opened.keys.view.record
  const destroyed = boot.configuration === null ? [] : destroyedIn(keyring, boot.configuration)
  return { ...opened, takenIn, destroyed }
}

/** Undefined where there has never been one. Both records come in one commit, so the keyring is read again after the fence:
 *  another server may make them in between. */
async function storedKeyring(store: Store): Promise<StoredRecord | undefined> {
  const stored = await store.record("keyring")
  if (stored !== undefined || (await store.fence()) === undefined) return stored
  const made = await store.record("keyring")
  if (made !== undefined) return made
  throw new KnownError(
    "RecordCorrupt",
    "the datastore has a fence and no keyring: the keyring record was removed",
  )
}

async function join(boot: Bootstrap, slots: readonly Slot[]): Promise<Opened> {
  try {
    const keys = await Keys.open(boot.store, await unlockByToken(boot, slots))
    keepToken(boot.paths, tokenFor(keys.view.record.keyring))
    return { keys, how: "joined" }
  } catch (error) {
    if (boot.recoveryKey === null || !isKnown(error, "SlotDidNotOpen", "TokenInvalid")) throw error
    return recover(boot, boot.recoveryKey, slots)
  }
}

/** Throws SlotDidNotOpen, TokenInvalid. */
export const unlockByToken = (secrets: Secrets, slots: readonly Slot[]) =>
  firstThatOpens(slots, ownTokens(secrets, slots))

/** A crash while the token was changed leaves the new one beside the old; the keyring knows which of them holds. */
function ownTokens({ token, paths }: Secrets, slots: readonly Slot[]): string[] {
  const next = readIfPresent(paths.nextToken)?.trim() ?? null
  const own = [token ?? readToken(paths), next].filter((found) => found !== null)
  if (own.length > 0) return own
  const seen = `there is no ${paths.token}, and the datastore holds a keyring; ${opensBy(slots)}`
  throw new KnownError("SlotDidNotOpen", seen)
}

async function firstThatOpens(
  slots: readonly Slot[],
  [token = "", ...others]: readonly string[],
): Promise<KeyObject> {
  try {
    return await unlock(slots, { kind: "token", secret: passwordOf(token) })
  } catch (error) {
    if (!isKnown(error, "SlotDidNotOpen", "TokenInvalid")) throw error
    if (others.length > 0) return firstThatOpens(slots, others)
    if (error.code === "SlotDidNotOpen") throw error
    const seen = `not a token for this datastore's keyring: ${error.message}; ${opensBy(slots)}`
    throw new KnownError("TokenInvalid", seen, { cause: error })
  }
}

/** Opened by the recovery key, the keyring gets a slot for the token that is to hold from now on. */
async function recover(
  boot: Bootstrap,
  recoveryKey: string,
  slots: readonly Slot[],
): Promise<Opened> {
  const clusterKey = await unlock(slots, { kind: "recovery", secret: recoveryKey })
  const keys = await Keys.open(boot.store, clusterKey)
  const now = boot.now()
  const entry = entryOf({
    id: randomUUID(),
    verb: "token rotate",
    caller: { user: BY_RECOVERY_KEY, address: "" },
    server: boot.server,
    target: null,
    now,
  })
  const password = passwordFromNowOn(boot)
  const token = await changeToken(boot.paths, keys, { password, now, entry })
  keepToken(boot.paths, token)
  await forgetOldToken(boot.paths, keys)
  return { keys, how: "recovered" }
}

const wantedPassword = ({ token, paths }: Bootstrap): string => {
  const own = token ?? readToken(paths)
  return own === null ? randomPassword() : passwordOf(own)
}

/** Never the data directory's own, which did not open: it may have been changed because somebody else has it. */
const passwordFromNowOn = ({ token }: Bootstrap): string =>
  token === null ? randomPassword() : passwordOf(token)

async function found(boot: Bootstrap): Promise<Opened> {
  const { store, paths, now } = boot
  const known = readAuthorities(paths)
  if (known !== null && !(await holdsObjects(store)))
    throw new KnownError(
      "DatastoreEmpty",
      `${paths.tls} is of a server that had a datastore, and the one of now is empty`,
    )
  const authorities = known ?? (await makeAuthorities(now()))
  const password = wantedPassword(boot)
  const keyring = await firstKeyring(boot, emptyKeyring(authorities, { password }))
  await refuseUnreadable(store, keyring)
  const before = readIfPresent(paths.token)
  writeToken(paths, tokenFor(keyring))
  const clusterKey = newClusterKey()
  const slots = [await makeSlot({ kind: "token", secret: password, now: now() })]
  const record = { epoch: 1, fence: newFence(), slots, keyring }
  if ((await createKeyring(store, { record, clusterKey })) === "exists")
    return joinWinner(boot, { before })
  return { keys: await Keys.open(store, clusterKey), how: "found" }
}

/** Another server made the keyring at the same moment. With the same token this one joins it; else it leaves its data directory
 *  as it was. `before`: the token file's content before this start. */
async function joinWinner(
  boot: Bootstrap,
  { before }: { readonly before: string | null },
): Promise<Opened> {
  const { store, paths, token } = boot
  try {
    if (token === null && before === null) throw madeElsewhere()
    const stored = (await storedKeyring(store)) ?? bug("a keyring that exists is not there")
    return await join(boot, readOutside(stored.value).slots)
  } catch (error) {
    if (before === null) removeToken(paths)
    else writeToken(paths, before.trim())
    throw error
  }
}

const madeElsewhere = () =>
  new KnownError(
    "SlotDidNotOpen",
    "another server made the keyring of this datastore at the same moment, and this one was given no token; " +
      "copy the file server/token from that server's data directory, and type: keyturn server --token-file <the copy>",
  )

/** From --encryption-provider-config or K3s' own file where there is one; else, for an empty datastore only, with a new key. */
async function firstKeyring(boot: Bootstrap, empty: Keyring): Promise<Keyring> {
  const created = boot.now().toISOString()
  const configuration = boot.configuration ?? localConfiguration(boot.paths)
  if (configuration !== null)
    return { ...keyringFrom(empty, configuration, created), stage: readStage(boot.paths) }
  if (boot.firstKey === null || (await holdsObjects(boot.store))) return empty
  const key =
    newKey(empty, { provider: boot.firstKey, now: boot.now() }) ??
    bug("an empty keyring has no names that could be taken")
  return { ...withKey(empty, key), writer: key.name, intent: "encrypted" }
}

/** {@link HEALTH_KEY} is kine's own. */
const holdsObjects = async (store: Store): Promise<boolean> => {
  const { entries } = await store.list({ prefix: "/registry/", limit: 2 })
  return entries.some(({ key }) => key !== HEALTH_KEY)
}

/** I7: nobody takes up a datastore whose values he cannot read. */
async function refuseUnreadable(store: Store, keyring: Keyring): Promise<void> {
  const view = viewOfKeys(keyring)
  const limit = 500
  for (let after = ""; ; ) {
    const { entries } = await store.list({ prefix: "/registry/", after, limit })
    for (const { key, value } of entries) if (isEncrypted(value)) openObject(view, key, value)
    const last = entries.at(-1)
    if (last === undefined || entries.length < limit) return
    after = last.key
  }
}

/** A key of a local file that the keyring lacks is sealed into it, for reading only, before that file is written again. */
async function takeInLocalKeys(boot: Bootstrap, keys: Keys): Promise<string[]> {
  const created = boot.now().toISOString()
  const before = new Set(keys.view.record.keyring.keys.map(({ name }) => name))
  for (const configuration of [boot.configuration, localConfiguration(boot.paths)])
    if (configuration !== null)
      await keys.change("take-in-keys", ({ record: { keyring } }) => {
        const whole = withKeysOf(keyring, configuration, created)
        return whole === keyring ? undefined : { keyring: whole }
      })
  return keys.view.record.keyring.keys.map(({ name }) => name).filter((name) => !before.has(name))
}

function localConfiguration({ encryptionConfig: file }: DataDirPaths): ConfigurationText | null {
  const text = readIfPresent(file)
  return text === null ? null : { file, text }
}
