/** The keyring in the words of an EncryptionConfiguration, as K3s writes it, and back. The files are output: they are read only
 *  where no keyring exists yet, or to find a key that the keyring lacks. */
import {
  type EncryptionConfiguration,
  hashConfig,
  parseEncryptionConfiguration,
  printEncryptionConfiguration,
  type ProviderConfiguration,
  type ResourceConfiguration,
  unsupportedKms,
} from "../config/encryption-configuration.ts"
import { includesResource } from "../config/resources.ts"
import {
  inactiveKeys,
  isDestroyed,
  type Key,
  type Keyring,
  STAGES,
  type Stage,
  withKeysTakenIn,
} from "../keyring/keyring.ts"
import { stepSync } from "../step.ts"
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
  return { config, state: `${keyring.stage}-${hashConfig(config)}` }
}

/** The writer's provider first, in it the writer first, then its other keys and the other providers in the order of their
 *  oldest key; identity last, or first where it writes. */
function configurationOf(keyring: Keyring): EncryptionConfiguration {
  const writer = keyring.keys.filter(({ name }) => name === keyring.writer)
  const byProvider = Map.groupBy([...writer, ...inactiveKeys(keyring)], ({ provider }) => provider)
  const sealing = [...byProvider].map(([provider, keys]) => ({ provider, keys }))
  const identity = { provider: "identity" } as const
  const providers = keyring.intent === "encrypted" ? [...sealing, identity] : [identity, ...sealing]
  return { resources: [{ resources: keyring.resources, providers }] }
}

export function writeEncryptionFiles(paths: DataDirPaths, files: EncryptionFiles): void {
  stepSync("encryption-config", () => writeIfChanged(paths.encryptionConfig, files.config))
  stepSync("encryption-state", () => writeIfChanged(paths.encryptionState, files.state))
}

/** False where the file shows another configuration; there may be none yet. */
export function isShown(paths: DataDirPaths, keyring: Keyring): boolean {
  const shown = readIfPresent(paths.encryptionConfig)
  return shown === null || shown === encryptionFiles(keyring)?.config
}

/** The text of an EncryptionConfiguration; `file` is for messages. */
export interface ConfigurationText {
  readonly file: string
  readonly text: string
}

/** The keyring with every key that the configuration holds, for reading. Throws ConfigInvalid, KeyNameTaken. */
export function withKeysOf(keyring: Keyring, from: ConfigurationText, created: string): Keyring {
  const { resources } = parseEncryptionConfiguration(from.text, from)
  const keys = resources
    .flatMap(({ providers }) => providers)
    .flatMap((provider) => keysOf(provider, created))
  return withKeysTakenIn(keyring, keys)
}

/** Names of keys that the configuration holds though they were destroyed. Throws ConfigInvalid. */
export function destroyedIn(keyring: Keyring, from: ConfigurationText): string[] {
  const { resources } = parseEncryptionConfiguration(from.text, from)
  const names = resources
    .flatMap(({ providers }) => providers)
    .flatMap((provider) => keysOf(provider, "").map(({ name }) => name))
  return [...new Set(names)].filter((name) => isDestroyed(keyring, name))
}

/** A first keyring as the configuration has it: its keys, what is encrypted, and by the entry that covers Secrets which key
 *  writes. Throws ConfigInvalid, KeyNameTaken. */
export function keyringFrom(empty: Keyring, from: ConfigurationText, created: string): Keyring {
  const { resources } = parseEncryptionConfiguration(from.text, from)
  const secrets = resources.find((entry) => includesResource(entry.resources, "secrets"))
  const [first] = secrets?.providers ?? []
  const sealing = secrets?.providers.flatMap((provider) => keysOf(provider, created)) ?? []
  return {
    ...withKeysOf(empty, from, created),
    writer: sealing[0]?.name ?? null,
    intent: first === undefined || first.provider === "identity" ? "plain" : "encrypted",
    resources: [
      ...new Set(["secrets", ...resources.filter(isSealing).flatMap((entry) => entry.resources)]),
    ],
  }
}

const isSealing = ({ providers }: ResourceConfiguration) => providers[0]?.provider !== "identity"

function keysOf(from: ProviderConfiguration, created: string): Key[] {
  if (from.provider === "identity") return []
  if (from.provider === "kms") throw unsupportedKms(from.name)
  const { provider, keys } = from
  return keys.map((key) => ({ ...key, provider, state: "active" as const, created }))
}

/** The stage that K3s left in its state file; `start` where there is none. A rewrite that K3s had begun does not run here:
 *  it is begun again by the verb that follows `rotate`. */
export function readStage(paths: DataDirPaths): Stage {
  const [text = ""] = (readIfPresent(paths.encryptionState) ?? "").split("-")
  if (text === "reencrypt_request" || text === "reencrypt_active") return "rotate"
  return STAGES.find((stage) => stage === text) ?? "start"
}
