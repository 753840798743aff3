/** What of some rows is not under the key that writes, and that sealed anew, old values too. Which rows, and how they are written,
 *  is batches.ts'. */
import { isKnown } from "../errors.ts"
import { hasPrefix, isEncrypted } from "../format/value.ts"
import { writingKey } from "../keyring/keyring.ts"
import { openObject, type View } from "../registry/view.ts"
import type { Unreadable } from "../rotation/operation.ts"
import type { Replacement, Row } from "../store/store.ts"

export interface Target {
  /** Null: identity. */
  readonly name: string | null
  readonly view: View
  /** Prefixes of other keys that a value of the target may also begin with, as names may contain ':'. */
  readonly rivals: readonly Buffer[]
  /** What begins with this is under the target and may be passed over; undefined where that takes a second look. */
  readonly settled: Buffer | undefined
}

/** The target is the keyring's to say: the operation record is not sealed, and who can write to the datastore must not be
 *  able to have everything rewritten to plain text, or under a key of his choice. */
export function makeTarget(view: View): Target {
  const name = writingKey(view.record.keyring)?.name ?? null
  const { prefix } = view.provider(name)
  const rivals = view.record.keyring.keys
    .filter((key) => key.name !== name)
    .map((key) => view.provider(key.name).prefix)
    .filter((other) => name !== null && (hasPrefix(other, prefix) || hasPrefix(prefix, other)))
  return { name, view, rivals, settled: name !== null && rivals.length === 0 ? prefix : undefined }
}

/** A stored byte string and where it stands. */
type Stale = Omit<Replacement, "replacement"> & { readonly expected: Buffer }

/** What stands in `rows` and is not under the target yet. */
export const staleIn = (rows: readonly Row[], target: Target): Stale[] =>
  rows.flatMap(({ value, previous, ...row }) => {
    const columns = { value, previous }
    return (["value", "previous"] as const).flatMap((column) => {
      const expected = columns[column]
      if (expected === undefined || expected.length === 0 || !isStale(row.key, expected, target))
        return []
      return [{ ...row, column, expected }]
    })
  })

/** All of it sealed anew, each once; and what does not open, which stays as it is. */
export function sealAnew(
  stale: readonly Stale[],
  target: Target,
): { replacements: Replacement[]; unreadable: Unreadable[] } {
  const replacements: Replacement[] = []
  const unreadable: Unreadable[] = []
  for (const one of stale) {
    const { key, expected } = one
    try {
      const plaintext = openObject(target.view, key, expected)
      const replacement = target.view.provider(target.name).seal(plaintext, key)
      replacements.push({ ...one, replacement })
    } catch (error) {
      if (!isKnown(error)) throw error
      unreadable.push({ key, why: error.message })
    }
  }
  return { replacements, unreadable }
}

/** Plaintext is only ever sealed where the kind is an encrypted one; a sealed value moves to the target wherever it lies. */
function isStale(key: string, stored: Buffer, { name, view, rivals }: Target): boolean {
  if (!isEncrypted(stored)) return name !== null && view.covers(key)
  if (name === null || !hasPrefix(stored, view.provider(name).prefix)) return true
  return rivals.some((rival) => hasPrefix(stored, rival))
}
