/** `secrets-encrypt keys`: every key of the keyring, and what is known of it. */
import { type Keyring, writingKey } from "../keyring/keyring.ts"
import type { KeyProvider } from "../providers/provider.ts"
import type { Counts } from "../rotation/retire.ts"

export interface KeyListed {
  readonly name: string
  readonly provider: KeyProvider
  readonly state: "writing" | "active" | "archived"
  /** RFC 3339. */
  readonly created: string
  readonly ageseconds: number
  /** Values and old values of every row. */
  readonly storedvalues: number
}

/** Oldest first, as the keyring has them. */
export function listKeys(
  keyring: Keyring,
  { counts, now }: { readonly counts: Counts; readonly now: Date },
): KeyListed[] {
  const writer = writingKey(keyring)
  return keyring.keys.map(({ name, provider, state, created }) => ({
    name,
    provider,
    state: name === writer?.name ? "writing" : state,
    created,
    ageseconds: Math.floor((now.getTime() - Date.parse(created)) / 1000),
    storedvalues: counts.get(name) ?? 0,
  }))
}
