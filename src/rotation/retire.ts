/** The end of an operation: what the proof allows. */
import { bug } from "../errors.ts"
import { archive, inactiveKeys, type Keyring } from "../keyring/keyring.ts"
import type { Operation, Proof } from "./operation.ts"

/** Stored byte strings under each key, counted under every key whose prefix fits. */
export type Counts = ReadonlyMap<string, number>

/** What a census found under the operation's fence. */
export interface Counted {
  readonly counts: Counts
  /** Byte strings that are plain although their kind is an encrypted one. */
  readonly unencrypted: number
  /** Every value that was committed up to it was looked at. */
  readonly revision: number
}

/** I4: whether a key still has stored bytes under it, or is the one that writes. `counts` is the census that the proof
 *  made under the operation's fence; a key that it does not name was not looked for, so it is needed. */
export const keyStillNeeded = (keyring: Keyring, counts: Counts, name: string): boolean =>
  keyring.writer === name || counts.get(name) !== 0

/** The keyring after the proof: unused keys archived where the operation retires, the stage moved on, and what it proved of
 *  plain text held fast. */
export function afterProof(
  before: Keyring,
  operation: Operation,
  { counts, unencrypted, revision }: Counted,
): { keyring: Keyring; retired: string[]; kept: Record<string, number>; proof: Proof } {
  const proof = proofOf(before, operation, { counts, revision })
  const keyring = unencrypted === 0 ? withProof(before, proof) : before
  if (!operation.retires) return { keyring, retired: [], kept: {}, proof }
  const others = inactiveKeys(keyring).map(({ name }) => name)
  const retired = others.filter((name) => !keyStillNeeded(keyring, counts, name))
  const kept = others.filter((name) => !retired.includes(name))
  return {
    keyring: { ...archive(keyring, retired), stage: "reencrypt_finished", wayBack: null },
    retired,
    kept: Object.fromEntries(kept.map((name) => [name, counts.get(name) ?? 0])),
    proof,
  }
}

/** What was proven once stays so until identity writes: plain text that comes later must not make itself readable. */
const withProof = (keyring: Keyring, { revision }: Proof): Keyring =>
  keyring.intent === "encrypted" && keyring.proven === null
    ? { ...keyring, proven: revision }
    : keyring

function proofOf(
  { keys }: Keyring,
  { fence, upTo }: Operation,
  { counts, revision }: Pick<Counted, "counts" | "revision">,
): Proof {
  const counted = keys.map(({ name, state }) => ({ name, state, values: counts.get(name) ?? 0 }))
  const told = counted.filter(({ state, values }) => state === "active" || values > 0)
  return {
    fence,
    // The operation record is not sealed: whoever writes to the datastore could have put a barrier there that is still to come.
    revision: Math.min(upTo ?? bug("a proof before its barrier"), revision),
    counts: Object.fromEntries(told.map(({ name, values }) => [name, values])),
  }
}
