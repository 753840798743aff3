/** `secrets-encrypt status` in K3s' JSON: the fields, their order and what is left out. */
import { hashMismatch, shownHashes } from "../cluster/node.ts"
import { type Key, inactiveKeys, type Keyring, writingKey } from "../keyring/keyring.ts"
import type { KeyProvider } from "../providers/provider.ts"
import type { Registry } from "../registry/registry.ts"

export interface Status {
  readonly stage: string
  readonly activekey: string
  /** Absent: encryption was never configured. */
  readonly enable?: boolean
  /** Absent: it does not match. */
  readonly hashmatch?: true
  readonly hasherror?: string
  readonly inactivekeys?: readonly string[]
}

/** What the Key Type column shows. */
const KEY_TYPES: Record<KeyProvider, string> = {
  aescbc: "AES-CBC",
  aesgcm: "AES-GCM",
  secretbox: "XSalsa20-POLY1305",
}

const shown = ({ provider, name }: Key) => `${KEY_TYPES[provider]} ${name}`

export async function statusOf(keyring: Keyring, registry: Registry): Promise<Status> {
  if (keyring.intent === "none") return { stage: "", activekey: "" }
  const writer = writingKey(keyring)
  const mismatch = hashMismatch(await shownHashes(registry))
  const inactive = keysOutOfUse(keyring)
  return {
    stage: keyring.stage,
    activekey: writer ? shown(writer) : "",
    enable: keyring.intent === "encrypted",
    ...(mismatch === undefined ? { hashmatch: true } : { hasherror: mismatch }),
    ...(inactive.length > 0 ? { inactivekeys: inactive.map(shown) } : {}),
  }
}

/** While identity writes, the key that wrote before it stands first among the inactive ones. */
function keysOutOfUse(keyring: Keyring): Key[] {
  const last = keyring.keys.filter(({ name }) => name === keyring.writer)
  return [...(keyring.intent === "encrypted" ? [] : last), ...inactiveKeys(keyring)]
}
