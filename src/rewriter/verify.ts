/** What `verify` reports: which stored bytes are under which key, and what speaks against all of them being under the one that
 *  writes. It only reads. */
import { KnownError } from "../errors.ts"
import { ENCRYPTED, isEncrypted, PLAIN_SECRET, prefixOf } from "../format/value.ts"
import { isDestroyed, type Key, type Keyring, writingKey } from "../keyring/keyring.ts"
import { KEY_PROVIDERS, type KeyProvider } from "../providers/provider.ts"
import type { View } from "../registry/view.ts"
import type { Unreadable } from "../rotation/operation.ts"
import { placesIn } from "../store/file-search.ts"
import type { StoreReader } from "../store/store.ts"
import {
  type Census,
  census,
  type CensusOptions,
  foreignName,
  type KnownKey,
  knownKeys,
  liveCensus,
  namesOver,
  type Tally,
  uncompacted,
  UNKNOWN,
} from "./census.ts"

/** As JSON it is the answer of a server, and what `-o json` prints: names stay as they are. */
export interface Verification {
  /** Every value that was committed up to it was looked at. */
  readonly revision: number
  /** Whether each was opened; else what it says of itself was believed. */
  readonly opened: boolean
  /** Null: no key writes, or nothing says which. */
  readonly writingkey: string | null
  readonly live: number
  /** Values and old values, of every row. */
  readonly stored: number
  readonly keys: readonly KeyFound[]
  readonly unencrypted: Found
  readonly unreadable: { readonly stored: number; readonly names: readonly Unreadable[] }
  readonly namespaces: readonly NamespaceFound[]
  /** What speaks against it, in sentences. Empty: proven. */
  readonly problems: readonly string[]
}

export interface Found {
  readonly live: number
  readonly stored: number
  /** How often the database's files hold what such values begin with, rows and left-over bytes alike; null: not searched. */
  readonly infiles: number | null
  /** Where they lie: of all that are counted the first hundred. */
  readonly names: readonly string[]
}

export interface KeyFound extends Found {
  readonly name: string
  /** Null: the keyring does not hold it. */
  readonly provider: KeyProvider | null
  readonly state: Key["state"] | "writing" | "destroyed" | "unknown"
}

export interface NamespaceFound {
  /** "" for what lies in none. */
  readonly name: string
  readonly stored: number
  /** Of these under the key that writes. */
  readonly current: number
}

export interface VerifyOptions extends Pick<CensusOptions, "opens" | "signal"> {
  /** Prove that nothing is under this key, instead of all under the one that writes. */
  readonly key?: string | undefined
  /** The database's own, where they can be read. */
  readonly files?: readonly string[]
}

export async function verify(
  store: StoreReader,
  view: View,
  { key, opens = false, files = [], signal }: VerifyOptions,
): Promise<Verification> {
  if (key === "")
    throw new KnownError("UsageInvalid", "--key takes the name of a key, and it is empty")
  const also = key === undefined ? [] : wherever(key, view)
  const options = { also, ...(signal && { signal }) }
  const { all, live } = await uncompacted(async () => {
    const all = await census(store, view, { ...options, opens })
    const { revision } = all
    const live = await liveCensus(store, view, { ...options, prefix: "/registry/", revision })
    return { all, live }
  })
  const inFiles = await searched(files, [...knownKeys(view), ...also], signal)
  const report = reported(view, { all, live, inFiles, opened: opens })
  return { ...report, problems: key === undefined ? against(report) : under(report, key) }
}

/** A key that the keyring does not hold has its name alone, and may be of any provider; or it is named as {@link foreignName} does. */
const wherever = (name: string, view: View): KnownKey[] =>
  view.record.keyring.keys.some((key) => key.name === name)
    ? []
    : KEY_PROVIDERS.flatMap((provider) => {
        const names = name.startsWith(`${provider} `) ? [name, bare(name)] : [name]
        return names.map((one) => ({ name, prefix: prefixOf({ provider, name: one }) }))
      })

/** What {@link foreignName} says, without the provider. */
const bare = (name: string): string => name.slice(name.indexOf(" ") + 1)

/** What a key's name may take of the bytes at a place. */
const PLACE_BYTES_MAX = 400

interface InFiles {
  readonly keys: ReadonlyMap<string, number>
  readonly unencrypted: number
}

async function searched(
  files: readonly string[],
  known: readonly KnownKey[],
  signal: AbortSignal | undefined,
): Promise<InFiles | undefined> {
  if (files.length === 0) return undefined
  const keys = new Map<string, number>()
  let unencrypted = 0
  const texts = [ENCRYPTED, PLAIN_SECRET]
  for await (const bytes of placesIn(files, { texts, bytesMax: PLACE_BYTES_MAX, signal }))
    if (isEncrypted(bytes)) {
      const names = namesOver(known, bytes)
      for (const name of names.length > 0 ? names : [foreignName(bytes)])
        keys.set(name, (keys.get(name) ?? 0) + 1)
    } else unencrypted += 1
  return { keys, unencrypted }
}

interface Counted {
  readonly all: Census
  readonly live: Census
  readonly inFiles: InFiles | undefined
  readonly opened: boolean
}

function reported(view: View, counted: Counted): Omit<Verification, "problems"> {
  const { all, live, inFiles, opened } = counted
  const { keyring } = view.record
  const writer = writingKey(keyring)
  const held = new Map(keyring.keys.map((key) => [key.name, key]))
  const elsewhere = inFiles ? [...inFiles.keys.keys()] : []
  const names = new Set([...all.keys.keys(), ...all.foreign.keys(), ...elsewhere])
  return {
    revision: all.revision,
    opened,
    writingkey: writer?.name ?? null,
    live: live.stored,
    stored: all.stored,
    keys: Array.from(names, (name) => {
      const key = held.get(name)
      return {
        name,
        provider: key?.provider ?? null,
        state:
          key === undefined ? goneState(keyring, name) : key === writer ? "writing" : key.state,
        ...found(tallyOf(all, name), tallyOf(live, name)),
        infiles: inFiles ? (inFiles.keys.get(name) ?? 0) : null,
      }
    }),
    unencrypted: {
      ...found(all.unencrypted, live.unencrypted),
      infiles: inFiles ? inFiles.unencrypted : null,
    },
    unreadable: all.unreadable,
    namespaces: Array.from(all.namespaces, ([name, tally]) => ({ name, ...tally })).toSorted(
      (a, b) => (a.name < b.name ? -1 : 1),
    ),
  }
}

const goneState = (keyring: Keyring, name: string) =>
  isDestroyed(keyring, name) || isDestroyed(keyring, bare(name)) ? "destroyed" : "unknown"

const tallyOf = ({ keys, foreign }: Census, name: string) => keys.get(name) ?? foreign.get(name)

const found = (all: Tally | undefined, live: Tally | undefined) => ({
  live: live?.stored ?? 0,
  stored: all?.stored ?? 0,
  names: all?.names ?? [],
})

type Report = Omit<Verification, "problems">

/** What speaks against all being under the key that writes. */
function against({ keys, unencrypted, unreadable, writingkey }: Report): string[] {
  return [
    ...(writingkey === null ? ["no key is known to write"] : []),
    ...keys
      .filter(({ state, name }) => state !== "writing" && name !== UNKNOWN)
      .flatMap((key) => leftUnder(`under the key "${key.name}"`, key)),
    ...keys
      .filter(({ name }) => name === UNKNOWN)
      .flatMap((key) => stands("under no known key", key)),
    ...leftUnder("in plain text", unencrypted),
    ...stands("not to be opened", {
      stored: unreadable.stored,
      names: unreadable.names.map(({ key }) => key),
    }),
  ]
}

/** What speaks against nothing being under `name`. */
const under = ({ keys }: Report, name: string): string[] =>
  keys
    .filter((key) => key.name === name)
    .flatMap((key) => leftUnder(`under the key "${name}"`, key))

const leftUnder = (where: string, left: Found): string[] => {
  const { stored, infiles } = left
  if (stored > 0 || infiles === null || infiles === 0) return stands(where, left)
  const times = infiles === 1 ? "once" : `${infiles} times`
  return [`the database's files hold what a value ${where} begins with, ${times}, and no row does`]
}

const NAMED_IN_SENTENCE = 3

function stands(where: string, { stored, names }: Pick<Found, "stored" | "names">): string[] {
  if (stored === 0) return []
  const shown = names.slice(0, NAMED_IN_SENTENCE).join(", ")
  const more = names.length > NAMED_IN_SENTENCE ? ", …" : ""
  return [`${stored} stored value${stored === 1 ? " is" : "s are"} ${where} (${shown}${more})`]
}
