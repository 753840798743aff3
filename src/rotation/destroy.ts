/** The end of a key: what may be destroyed, as a pure function of what was observed. */
import { KnownError } from "../errors.ts"
import { type DestroyedKey, type Keyring, withoutKey } from "../keyring/keyring.ts"

/** What the census found under the key. */
export interface Under {
  readonly stored: number
  /** Storage keys, not all of them where there are many. */
  readonly names: readonly string[]
}

/** Undefined where it is not destroyed yet, and may be if nothing is stored under it. Throws NotFound, KeyNotArchived. */
export function alreadyDestroyed(keyring: Keyring, name: string): DestroyedKey | undefined {
  const gone = keyring.destroyed.find((key) => key.name === name)
  if (gone !== undefined) return gone
  const key = keyring.keys.find((one) => one.name === name)
  if (key === undefined) throw noSuchKey(name)
  if (key.state !== "archived")
    throw new KnownError("KeyNotArchived", `the key "${name}" is not retired, it is ${key.state}`)
  return undefined
}

/** The keyring without the key's bytes. `under`: of a census that the commit is valid under the fence of. Throws what
 *  {@link alreadyDestroyed} throws, and KeyInUse. */
export function destroyed(
  keyring: Keyring,
  { name, under, now }: { readonly name: string; readonly under: Under; readonly now: Date },
): Keyring {
  if (alreadyDestroyed(keyring, name) !== undefined) return keyring
  if (under.stored > 0) throw inUse(name, under)
  return withoutKey(keyring, name, now)
}

export const noSuchKey = (name: string): KnownError =>
  new KnownError("NotFound", `there is no key "${name}"; see: keyturn secrets-encrypt keys`)

const SHOWN_MAX = 10

function inUse(name: string, { stored, names }: Under): KnownError {
  const shown = names.slice(0, SHOWN_MAX)
  const more = names.length > shown.length ? [...shown, "and more"] : shown
  const values = stored === 1 ? "1 stored value needs" : `${stored} stored values need`
  return new KnownError("KeyInUse", `${values} the key "${name}": ${more.join(", ")}`)
}
