/** `secrets-encrypt keys`: every key of the keyring, and what is known of it. */
import { type Keyring, writingKey } from "../keyring/keyring.ts"
import type { KeyProvider } from "../providers/provider.ts"
import { SEALS_MAX } from "../rotation/due.ts"
import type { Counts } from "../rotation/retire.ts"
import { isCounted, sealsOf, totalOf, type Usage } from "../rotation/usage.ts"

export interface KeyListed {
  readonly name: string
  readonly provider: KeyProvider
  readonly state: "writing" | "active" | "archived"
  /** RFC 3339. */
  readonly created: string
  readonly ageseconds: number
  /** Values and old values of every row. */
  readonly storedvalues: number
  /** What was sealed under it, and how much is meant to be at most. Absent: its writes are not counted. */
  readonly writes?: number
  readonly writesmax?: number
}

interface Known {
  readonly counts: Counts
  readonly usage: Usage
  readonly now: Date
}

/** Oldest first, as the keyring has them. */
export function listKeys(keyring: Keyring, { counts, usage, now }: Known): KeyListed[] {
  const writer = writingKey(keyring)
  return keyring.keys.map(({ name, provider, state, created }) => ({
    name,
    provider,
    state: name === writer?.name ? "writing" : state,
    created,
    ageseconds: Math.floor((now.getTime() - Date.parse(created)) / 1000),
    storedvalues: counts.get(name) ?? 0,
    ...(isCounted(provider) && { writes: totalOf(sealsOf(usage, name)), writesmax: SEALS_MAX }),
  }))
}
