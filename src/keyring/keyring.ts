/** The keyring E: which keys there are, which one writes, and how far a rotation has come. Pure: every function returns
 *  a new keyring. How E is sealed is record.ts'; what may follow what is rotation/'s. */
import { createSecretKey, type KeyObject, randomBytes } from "node:crypto"
import { bug, KnownError } from "../errors.ts"
import type { KeyProvider } from "../providers/provider.ts"

/** K3s' names; stored and shown, never rename one. */
export const STAGES = [
  "start",
  "prepare",
  "rotate",
  "reencrypt_active",
  "reencrypt_finished",
] as const
export type Stage = (typeof STAGES)[number]

/** `active` keys stand in the configuration file, `archived` ones only in E: they still open what they sealed. */
export type KeyState = "active" | "archived"

export interface Key {
  /** Unique in the life of the record; may contain ':'. */
  readonly name: string
  readonly provider: KeyProvider
  readonly state: KeyState
  /** RFC 3339, from the clock of the server that made it; for people only. */
  readonly created: string
  /** 16, 24 or 32 bytes for aescbc and aesgcm, 32 for secretbox. A KeyObject, so that no log can print it. */
  readonly secret: KeyObject
}

/** What is left of a key whose bytes are gone for good. */
export interface DestroyedKey extends Pick<Key, "name" | "provider" | "created"> {
  /** RFC 3339, for people only. */
  readonly destroyed: string
}

/** A certificate authority as PEM; `cert` may be a chain. */
export interface Authority {
  readonly cert: string
  readonly key: string
}

/** What a rotation that has retired nothing yet came from. */
export interface WayBack {
  /** The key that wrote. */
  readonly writer: string
  /** One of those at which a rotation may begin. */
  readonly stage: Stage
  /** Whether there may be values that no rewrite but this rotation's would come to: one that had not ended was taken over. */
  readonly rewrites: boolean
}

export interface Keyring {
  /** Oldest first; a key that was taken in for reading counts as older than those that were there. */
  readonly keys: readonly Key[]
  /** Their names are never used again, and no file brings one back. */
  readonly destroyed: readonly DestroyedKey[]
  /** The key that seals while `intent` is `encrypted`; kept over a disable, so that enable goes back to it. */
  readonly writer: string | null
  /** `none`: never configured, K3s' "no configuration file found". `plain`: identity writes. */
  readonly intent: "none" | "plain" | "encrypted"
  readonly stage: Stage
  /** Where `abort` leads. `gone`: it has led there, and no rotation was begun since. Null: nowhere. */
  readonly wayBack: WayBack | "gone" | null
  /** The revision at which an operation proved that nothing that is to be encrypted is plain text; null: nobody did since
   *  identity wrote. Plaintext that is there all the same was put there by somebody else, and is refused. */
  readonly proven: number | null
  /** What is encrypted, in the words of an EncryptionConfiguration: `secrets`, `configmaps`, `*.apps`, … */
  readonly resources: readonly string[]
  readonly authorities: { readonly server: Authority; readonly client: Authority }
  /** Of the server token, so that every server answers to the one that holds. */
  readonly password: string
}

export const emptyKeyring = (
  authorities: Keyring["authorities"],
  { password }: Pick<Keyring, "password">,
): Keyring => ({
  keys: [],
  destroyed: [],
  writer: null,
  intent: "none",
  stage: "start",
  wayBack: null,
  proven: null,
  resources: ["secrets"],
  authorities,
  password,
})

const keyNamed = (keyring: Keyring, name: string): Key | undefined =>
  keyring.keys.find((key) => key.name === name)

export const isDestroyed = ({ destroyed }: Keyring, name: string): boolean =>
  destroyed.some((key) => key.name === name)

/** The key that new values are sealed with; undefined where identity writes. */
export const writingKey = (keyring: Keyring): Key | undefined =>
  keyring.intent === "encrypted" && keyring.writer !== null
    ? keyNamed(keyring, keyring.writer)
    : undefined

/** Active keys that do not lead: prepared, imported or left over by an unfinished rotation; oldest first. */
export const inactiveKeys = (keyring: Keyring): Key[] =>
  keyring.keys.filter(({ name, state }) => state === "active" && name !== keyring.writer)

/** What `rotate` turns to: the last active key after the one that writes. */
export function preparedKey(keyring: Keyring): Key | undefined {
  const at = keyring.keys.findIndex(({ name }) => name === keyring.writer)
  return keyring.keys.slice(at + 1).findLast(({ state }) => state === "active")
}

/** The keyring with `writer` leading again. The keys after it are for reading from now on, and stand where those do. */
export function ledBackTo(keyring: Keyring, writer: string): Keyring {
  const after = 1 + keyring.keys.findIndex(({ name }) => name === writer)
  const keys = [...keyring.keys.slice(after), ...keyring.keys.slice(0, after)]
  return { ...keyring, keys, writer }
}

/** A new random key. K3s' names: the first of a record is `<provider>key`, later ones carry the local time.
 *  Returns undefined where that name is taken: ask again in the next second. */
export function newKey(
  keyring: Keyring,
  of: { provider: KeyProvider; now: Date },
): Key | undefined {
  const base = `${of.provider}key`
  const isFirst = keyring.keys.length + keyring.destroyed.length === 0
  const name = isFirst ? base : `${base}-${rfc3339(of.now)}`
  if (keyNamed(keyring, name) !== undefined || isDestroyed(keyring, name)) return undefined
  return {
    name,
    provider: of.provider,
    state: "active",
    created: of.now.toISOString(),
    secret: createSecretKey(randomBytes(32)),
  }
}

/** Adds a key that does not write yet. A name that stands already for other bytes is refused; for the same bytes the
 *  keyring comes back as it was. */
export function withKey(keyring: Keyring, key: Key): Keyring {
  const present = keyNamed(keyring, key.name)
  if (present === undefined) return { ...keyring, keys: [...keyring.keys, key] }
  if (present.provider === key.provider && present.secret.equals(key.secret)) return keyring
  throw new KnownError(
    "KeyNameTaken",
    `the key "${key.name}" (${key.provider}) is in the keyring already with other bytes (${present.provider})`,
  )
}

/** The keyring with those of the keys that it lacks, for reading; not with a destroyed one. They stand before the others: the last
 *  key is what `rotate` turns to, and stays the prepared one. Throws KeyNameTaken. */
export function withKeysTakenIn(keyring: Keyring, keys: readonly Key[]): Keyring {
  const whole = keys.filter(({ name }) => !isDestroyed(keyring, name)).reduce(withKey, keyring)
  const taken = whole.keys.slice(keyring.keys.length)
  return taken.length === 0 ? keyring : { ...keyring, keys: [...taken, ...keyring.keys] }
}

export function archive(keyring: Keyring, names: readonly string[]): Keyring {
  if (names.includes(keyring.writer ?? "")) bug("the writing key cannot be retired")
  return {
    ...keyring,
    keys: keyring.keys.map((key) =>
      names.includes(key.name) ? { ...key, state: "archived" as const } : key,
    ),
  }
}

/** The archived key's name is all that stays of it. */
export function withoutKey(keyring: Keyring, name: string, now: Date): Keyring {
  const key = keyNamed(keyring, name)
  if (key?.state !== "archived") return bug("only an archived key can be destroyed")
  const { provider, created } = key
  return {
    ...keyring,
    keys: keyring.keys.filter((one) => one !== key),
    destroyed: [...keyring.destroyed, { name, provider, created, destroyed: now.toISOString() }],
  }
}

/** Local time with its offset, as Go's time.RFC3339 prints it: `2026-08-06T19:44:59-07:00`, `…Z` in UTC. */
export function rfc3339(time: Date): string {
  const offsetMinutes = -time.getTimezoneOffset()
  const local = new Date(time.getTime() + offsetMinutes * 60_000).toISOString().slice(0, 19)
  if (offsetMinutes === 0) return `${local}Z`
  const two = (n: number) => String(n).padStart(2, "0")
  const minutes = Math.abs(offsetMinutes)
  return `${local}${offsetMinutes < 0 ? "-" : "+"}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`
}
