/** The keyring in the words of an EncryptionConfiguration, as K3s writes it, and back. The files are output: they are read only
 *  where no keyring exists yet, or to find a key that the keyring lacks. */
import { createSecretKey } from "node:crypto"
import {
  type EncryptionConfiguration,
  hashConfiguration,
  parseEncryptionConfiguration,
  printEncryptionConfiguration,
  type ProviderEntry,
} from "../config/encryption-configuration.ts"
import {
  activeKeys,
  type Key,
  type Keyring,
  STAGES,
  type Stage,
  withKey,
} from "../keyring/keyring.ts"
import type { KeyProvider } from "../providers/make.ts"
import type { DataDirPaths } from "./data-dir.ts"
import { readIfPresent, writeIfChanged } from "./files.ts"

export interface EncryptionFiles {
  readonly config: string
  /** `<stage>-<sha256 of config>`, what the Node shows too. */
  readonly state: string
}

/** Undefined where encryption was never configured: then there is no file. */
export function encryptionFiles(keyring: Keyring): EncryptionFiles | undefined {
  if (keyring.intent === "none") return undefined
  const config = printEncryptionConfiguration(configurationOf(keyring))
  return { config, state: `${keyring.stage}-${hashConfiguration(config)}` }
}

/** The writer's provider first, in it the writer first, then its other keys and the other providers in the order of their
 *  oldest key; identity last, or first where it writes. */
function configurationOf(keyring: Keyring): EncryptionConfiguration {
  const writer = keyring.keys.filter(({ name }) => name === keyring.writer)
  const others = activeKeys(keyring).filter(({ name }) => name !== keyring.writer)
  const byProvider = Map.groupBy([...writer, ...others], ({ provider }) => provider)
  const sealing = [...byProvider].map(([provider, keys]) => entryOf(provider, keys))
  const identity: ProviderEntry = { identity: {} }
  const providers = keyring.intent === "encrypted" ? [...sealing, identity] : [identity, ...sealing]
  return { resources: [{ resources: [...keyring.resources], providers }] }
}

const entryOf = (provider: KeyProvider, keys: readonly Key[]): ProviderEntry => {
  const list = keys.map(({ name, secret }) => ({ name, secret: secret.export() }))
  return { [provider]: { keys: list } } as ProviderEntry
}

export function writeEncryptionFiles(paths: DataDirPaths, files: EncryptionFiles): void {
  writeIfChanged(paths.encryptionConfig, files.config)
  writeIfChanged(paths.encryptionState, files.state)
}

/** What an EncryptionConfiguration says of keys, put into `keyring`: the keys of every entry; and where `takesOver`, which of
 *  them writes and what is encrypted, by the entry that covers Secrets. Throws ConfigInvalid, KeyNameTaken. */
export function withConfiguration(
  keyring: Keyring,
  text: string,
  { created, takesOver }: { readonly created: string; readonly takesOver: boolean },
): Keyring {
  const { resources } = parseEncryptionConfiguration(text)
  const keys = resources
    .flatMap(({ providers }) => providers)
    .flatMap((entry) => keysOf(entry, created))
  const whole = keys.reduce(withKey, keyring)
  if (!takesOver) return whole
  const secrets = resources.find((entry) => coversSecrets(entry.resources)) ?? resources[0]
  const [first] = secrets?.providers ?? []
  const sealing = secrets?.providers.flatMap((entry) => keysOf(entry, created)) ?? []
  return {
    ...whole,
    writer: sealing[0]?.name ?? null,
    intent: first !== undefined && "identity" in first ? "plain" : "encrypted",
    resources: [...new Set(["secrets", ...resources.flatMap((entry) => entry.resources)])],
  }
}

const coversSecrets = (resources: readonly string[]) =>
  resources.some((entry) => entry === "secrets" || entry === "*." || entry === "*.*")

function keysOf(entry: ProviderEntry, created: string): Key[] {
  const [provider, body] = Object.entries(entry)[0] ?? []
  if (provider === undefined || provider === "identity") return []
  return body.keys.map(({ name, secret }: { name: string; secret: Buffer }) => ({
    name,
    provider: provider as KeyProvider,
    state: "active" as const,
    created,
    secret: createSecretKey(secret),
  }))
}

/** The stage that K3s left in its state file; `start` where there is none. */
export function readStage(paths: DataDirPaths): Stage {
  const [text] = (readIfPresent(paths.encryptionState) ?? "").split("-")
  return STAGES.find((stage) => stage === text) ?? "start"
}
