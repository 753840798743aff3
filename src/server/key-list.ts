/** `secrets-encrypt keys`: every key of the keyring, and what is known of it; and `recovery-key list`. */
import { type DestroyedKey, type Keyring, writingKey } from "../keyring/keyring.ts"
import type { OpenSlot } from "../keyring/slots.ts"
import type { KeyProvider } from "../providers/provider.ts"
import { SEALS_MAX } from "../rotation/due.ts"
import type { Counts } from "../rotation/retire.ts"
import { isCounted, sealsOf, totalOf, type Usage } from "../rotation/usage.ts"

export interface KeyListed {
  readonly name: string
  readonly provider: KeyProvider
  readonly state: "writing" | "active" | "archived" | "destroyed"
  /** RFC 3339. */
  readonly created: string
  readonly ageseconds: number
  /** RFC 3339; absent: it is not. */
  readonly destroyed?: string
  /** Values and old values of every row. Absent: it is destroyed. */
  readonly storedvalues?: number
  /** What was sealed under it, and how much is meant to be at most. Absent: its writes are not counted. */
  readonly writes?: number
  readonly writesmax?: number
}

interface Known {
  readonly counts: Counts
  readonly usage: Usage
  readonly now: Date
}

/** Oldest first, as the keyring has them; before these the destroyed ones. */
export function listKeys(keyring: Keyring, known: Known): KeyListed[] {
  const writer = writingKey(keyring)
  const living = keyring.keys.map((key) => ({
    ...described(key, known),
    state: key.name === writer?.name ? ("writing" as const) : key.state,
    storedvalues: known.counts.get(key.name) ?? 0,
  }))
  const gone = keyring.destroyed.map((key) => ({
    ...described(key, known),
    state: "destroyed" as const,
    destroyed: key.destroyed,
  }))
  return [...gone, ...living]
}

function described({ name, provider, created }: Omit<DestroyedKey, "destroyed">, known: Known) {
  const writes = totalOf(sealsOf(known.usage, name))
  return {
    name,
    provider,
    created,
    ageseconds: ageSeconds(created, known.now),
    ...(isCounted(provider) && { writes, writesmax: SEALS_MAX }),
  }
}

const ageSeconds = (created: string, now: Date): number =>
  Math.floor((now.getTime() - Date.parse(created)) / 1000)

export interface RecoveryKeyListed {
  readonly id: string
  /** RFC 3339. */
  readonly created: string
  readonly ageseconds: number
}

/** Oldest first, as the keyring has them. */
export const listRecoveryKeys = (slots: readonly OpenSlot[], now: Date): RecoveryKeyListed[] =>
  slots
    .filter(({ kind }) => kind === "recovery")
    .map(({ id, created }) => ({ id, created, ageseconds: ageSeconds(created, now) }))
