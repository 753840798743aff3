/** `secrets-encrypt status` in K3s' JSON: the fields, their order and what is left out. */
import { hashMismatch, shownHashes } from "../cluster/node.ts"
import { type Key, inactiveKeys, type Keyring, writingKey } from "../keyring/keyring.ts"
import type { KeyProvider } from "../providers/provider.ts"
import type { Registry } from "../registry/registry.ts"
import type { View } from "../registry/view.ts"
import { census } from "../rewriter/census.ts"
import type { Store } from "../store/store.ts"

export interface Status {
  readonly stage: string
  readonly activekey: string
  /** Absent: encryption was never configured. */
  readonly enable?: boolean
  /** Absent: it does not match. */
  readonly hashmatch?: true
  readonly hasherror?: string
  readonly inactivekeys?: readonly string[]
  readonly servers: readonly ServerStatus[]
  /** A sentence for each flag that must agree on all servers and does not. Absent: all agree. */
  readonly flagerrors?: readonly string[]
  /** Sentences about the limits of the writing key. Absent: it is far from them. */
  readonly warnings?: readonly string[]
}

/** A server as the asked one sees it. */
export interface ServerStatus {
  readonly name: string
  readonly ready: boolean
  /** What its Node shows; absent: nothing. */
  readonly stage?: string
  readonly hash?: string
  /** Of the keyring that it has loaded, as it told last. */
  readonly epoch?: number
  /** Since the asked server saw a sign of it; absent: it never did. */
  readonly lastseenseconds?: number
  /** Those of its flags that must agree on all servers, as it told last. */
  readonly flags: Readonly<Record<string, string>>
}

/** An archived key that stored bytes are still under. */
export interface ArchivedKeyInUse {
  /** `AES-CBC aescbckey`. */
  readonly key: string
  /** Values and old values, of every row. */
  readonly storedvalues: number
}

/** What the Key Type column shows. */
export const KEY_TYPES: Record<KeyProvider, string> = {
  aescbc: "AES-CBC",
  aesgcm: "AES-GCM",
  secretbox: "XSalsa20-POLY1305",
}

const shown = ({ provider, name }: Key) => `${KEY_TYPES[provider]} ${name}`

interface Beyond {
  readonly registry: Registry
  readonly servers: readonly ServerStatus[]
  readonly warnings: readonly string[]
}

export async function statusOf(
  keyring: Keyring,
  { registry, servers, warnings }: Beyond,
): Promise<Status> {
  const flagerrors = flagErrors(servers)
  const beyond = {
    servers,
    ...(flagerrors.length > 0 ? { flagerrors } : {}),
    ...(warnings.length > 0 ? { warnings } : {}),
  }
  if (keyring.intent === "none") return { stage: "", activekey: "", ...beyond }
  const writer = writingKey(keyring)
  const mismatch = hashMismatch(await shownHashes(registry))
  const inactive = keysOutOfUse(keyring)
  return {
    stage: keyring.stage,
    activekey: writer ? shown(writer) : "",
    enable: keyring.intent === "encrypted",
    ...(mismatch === undefined ? { hashmatch: true } : { hasherror: mismatch }),
    ...(inactive.length > 0 ? { inactivekeys: inactive.map(shown) } : {}),
    ...beyond,
  }
}

/** Archived keys under which rows of an older backup came back. It reads every stored value. */
export async function archivedKeysInUse(
  store: Store,
  view: View,
  signal: AbortSignal,
): Promise<ArchivedKeyInUse[]> {
  const { keys } = await census(store, view, { signal })
  return view.record.keyring.keys
    .filter(({ state }) => state === "archived")
    .map((key) => ({ key: shown(key), storedvalues: keys.get(key.name)?.stored ?? 0 }))
    .filter(({ storedvalues }) => storedvalues > 0)
}

/** While identity writes, the key that wrote before it stands first among the inactive ones. */
function keysOutOfUse(keyring: Keyring): Key[] {
  const last = keyring.keys.filter(({ name }) => name === keyring.writer)
  return [...(keyring.intent === "encrypted" ? [] : last), ...inactiveKeys(keyring)]
}

/** `--encryption-reload is watch on a, b and restart on c`. Only servers that are there count. */
export function flagErrors(servers: readonly ServerStatus[]): string[] {
  const there = servers.filter(({ ready }) => ready)
  const flags = new Set(there.flatMap((server) => Object.keys(server.flags)))
  return [...flags].toSorted().flatMap((flag) => {
    const byText = Map.groupBy(
      there.filter((server) => flag in server.flags),
      (server) => server.flags[flag],
    )
    if (byText.size < 2) return []
    const parts = Array.from(byText, ([text, on]) => `${text} on ${on.map(nameOf).join(", ")}`)
    return [`--${flag} is ${parts.join(" and ")}`]
  })
}

const nameOf = ({ name }: ServerStatus) => name
