/** Kubernetes' EncryptionConfiguration: from text to a value that cannot be wrong, and back to K3s' text. */

import { createHash, createSecretKey } from "node:crypto"
import { bug, KnownError } from "../errors.ts"
import { isRecord } from "../format/schema.ts"
import type { Key, KeyProvider } from "../providers/provider.ts"
import { configuration, type RawKey, type RawProvider } from "./raw.ts"
import { maskedMistakes } from "./resources.ts"
import { type Mistakes, parseTree } from "./strict.ts"
import { configurationMistakes, secretBytes } from "./validate.ts"

const KIND = "EncryptionConfiguration"
const API_VERSION = "apiserver.config.k8s.io/v1"
/** An old documentation's mistake that Kubernetes still reads. */
const LEGACY = "v1, EncryptionConfig"

export interface EncryptionConfiguration {
  readonly resources: readonly ResourceConfiguration[]
}

export interface ResourceConfiguration {
  /** `secrets`, `deployments.apps`, `*.`, `*.apps`, `*.*` */
  readonly resources: readonly string[]
  /** The first one writes, all of them read. */
  readonly providers: readonly ProviderConfiguration[]
}

/** Keyturn reads `kms` to name it, but has no such provider. */
export type ProviderConfiguration =
  | { readonly provider: "identity" }
  | { readonly provider: KeyProvider; readonly keys: readonly Key[] }
  | { readonly provider: "kms"; readonly name: string }

/** `file` is for messages. Throws ConfigInvalid with all mistakes at once, in Kubernetes' words, without secrets. */
export function parseEncryptionConfiguration(
  source: string,
  { file }: { readonly file: string },
): EncryptionConfiguration {
  if (source === "")
    throw parseError([
      `error while loading file: encryption provider configuration file ${JSON.stringify(file)} is empty`,
    ])
  const mistakes: Mistakes = { strict: [], fatal: [] }
  const tree = parseTree(source, mistakes)
  if (mistakes.fatal.length === 0) mistakes.fatal.push(...kindMistakes(tree))
  if (mistakes.fatal.length > 0) throw parseError(decodeMistakes(file, mistakes))
  const raw = configuration.read(tree, { path: "", goPath: "", owner: KIND, mistakes })
  const decoded = mistakes.fatal.length === 0
  const found = [...decodeMistakes(file, mistakes), ...(decoded ? configurationMistakes(raw) : [])]
  if (found.length > 0) throw parseError(found)
  const masked = maskedMistakes(raw.resources.map(({ resources }) => resources))
  if (masked.length > 0)
    throw new KnownError("ConfigInvalid", `error while building transformers: ${together(masked)}`)
  return {
    resources: raw.resources.map(({ resources, providers }) => ({
      resources,
      providers: providers.map(providerOf),
    })),
  }
}

const parseError = (mistakes: readonly string[]): KnownError =>
  new KnownError("ConfigInvalid", `error while parsing file: ${together(mistakes)}`)

/** As Go prints several errors. */
function together(mistakes: readonly string[]): string {
  const [first = "", ...others] = new Set(mistakes)
  return others.length === 0 ? first : `[${[first, ...others].join(", ")}]`
}

function decodeMistakes(file: string, { strict, fatal }: Mistakes): string[] {
  const told =
    strict.length === 0 ? fatal : [...fatal, `strict decoding error: ${strict.join(", ")}`]
  return told.map(
    (mistake) =>
      `error decoding encryption provider configuration file ${JSON.stringify(file)}: ${mistake}`,
  )
}

function kindMistakes(tree: unknown): string[] {
  const { kind, apiVersion } = isRecord(tree) ? tree : {}
  if (typeof kind !== "string" || kind === "") return ["Object 'Kind' is missing"]
  if (typeof apiVersion !== "string" || apiVersion === "") return ["Object 'apiVersion' is missing"]
  if ([`${API_VERSION}, ${KIND}`, LEGACY].includes(`${apiVersion}, ${kind}`)) return []
  const [seen, version] = [JSON.stringify(kind), JSON.stringify(apiVersion)]
  return [`no kind ${seen} is registered for version ${version}`]
}

function providerOf({ aesgcm, aescbc, secretbox, kms }: RawProvider): ProviderConfiguration {
  if (kms) return { provider: "kms", name: kms.name }
  if (aesgcm) return { provider: "aesgcm", keys: aesgcm.keys.map(keyOf) }
  if (aescbc) return { provider: "aescbc", keys: aescbc.keys.map(keyOf) }
  if (secretbox) return { provider: "secretbox", keys: secretbox.keys.map(keyOf) }
  return { provider: "identity" }
}

const keyOf = ({ name, secret }: RawKey): Key => ({
  name,
  secret: createSecretKey(secretBytes(secret) ?? bug("a secret was not checked")),
})

/** Compact, and byte for byte what K3s writes for the same value. Holds the keys: never log it. */
export function printEncryptionConfiguration({ resources }: EncryptionConfiguration): string {
  const value = {
    kind: KIND,
    apiVersion: API_VERSION,
    resources: resources.map((entry) => ({
      resources: entry.resources,
      providers: entry.providers.map(printable),
    })),
  }
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, goEscape)
}

function printable(entry: ProviderConfiguration): Record<string, unknown> {
  if (entry.provider === "kms") throw unsupportedKms(entry.name)
  if (entry.provider === "identity") return { identity: {} }
  const keys = entry.keys.map(({ name, secret }) => ({
    name,
    secret: secret.export().toString("base64"),
  }))
  return { [entry.provider]: { keys } }
}

/** encoding/json escapes these for HTML. */
const goEscape = (character: string): string =>
  `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`

/** What a Node's annotation and the state file carry: sha256 over the exact text of the file. */
export const hashConfig = (source: string): string =>
  createHash("sha256").update(source).digest("hex")

/** For whoever comes upon a `kms` provider that is to seal or open. */
export const unsupportedKms = (name: string): KnownError =>
  new KnownError("ConfigInvalid", `kms is not supported: provider ${JSON.stringify(name)}`)
