/** What Kubernetes asks of an EncryptionConfiguration beyond its types, in its words and with its paths
 *  (k8s.io/apiserver, pkg/apis/apiserver/validation). Every function returns all mistakes that it finds. */

import { KEY_BYTES } from "../providers/make.ts"
import type { RawConfiguration, RawKey, RawKms, RawProvider } from "./raw.ts"
import { canonicalName, parseGroupResource } from "./resources.ts"

const required = (path: string, detail: string): string => `${path}: Required value: ${detail}`

const invalid = (path: string, value: unknown, detail: string): string =>
  `${path}: Invalid value: ${JSON.stringify(value)}: ${detail}`

export function configurationMistakes({ resources }: RawConfiguration): string[] {
  if (resources.length === 0) return [required("resources", "at least one resources is required")]
  const kmsNames = new Set<string>()
  return resources.flatMap((entry, i) => {
    const names = `resources[${i}].resources`
    const providers = `resources[${i}].providers`
    return [
      ...listMistakes(entry.resources, names),
      ...overlapMistakes(entry.resources, names),
      ...entry.resources.flatMap((name, j) => nameMistakes(name, `${names}[${j}]`)),
      ...listMistakes(entry.providers, providers),
      ...entry.providers.flatMap((provider, j) =>
        providerMistakes(provider, { path: `${providers}[${j}]`, kmsNames }),
      ),
    ]
  })
}

const listMistakes = (list: readonly unknown[], path: string): string[] =>
  list.length === 0 ? [required(path, `at least one ${path} is required`)] : []

function overlapMistakes(names: readonly string[], path: string): string[] {
  const duplicated = new Set(names.map(canonicalName)).size < names.length
  const parsed = names.map(parseGroupResource)
  const overlaps = parsed.some(({ group, resource }, i) => {
    const masks = (other: { group: string }, j: number) =>
      i !== j && (group === "*" || other.group === group)
    return resource === "*" && parsed.some(masks)
  })
  return [
    ...(duplicated ? [invalid(path, names, DUPLICATE)] : []),
    ...(overlaps ? [invalid(path, names, OVERLAP)] : []),
  ]
}

const DUPLICATE = "the same resource cannot be specified multiple times"
const OVERLAP =
  "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"

/** First match only, as in Kubernetes. */
// biome-ignore format: a table
const NAME_RULES: readonly (readonly [broken: (name: string, group: string) => boolean, detail: string])[] = [
  [(name) => name !== name.toLowerCase(), "resource name should not contain capital letters"],
  [(name) => name === "*", "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"],
  [(name) => NOT_REST.has(name), "resources which do not have REST API/s cannot be encrypted"],
  [(_, group) => group === "events.k8s.io", "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"],
  [(_, group) => group === "extensions", "'extensions' group has been removed and cannot be used for encryption"],
  [(name, group) => group === "*" && name !== "*.*", "encrypting the same resource across groups is not supported"],
]

const NOT_REST = new Set(["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"])

function nameMistakes(name: string, path: string): string[] {
  const { group } = parseGroupResource(name)
  const rule = NAME_RULES.find(([broken]) => broken(name, group))
  return rule ? [invalid(path, name, rule[1])] : []
}

interface Seen {
  readonly path: string
  readonly kmsNames: Set<string>
}

function providerMistakes(provider: RawProvider, { path, kmsNames }: Seen): string[] {
  const { aesgcm, aescbc, secretbox, identity, kms } = provider
  const count = [aesgcm, aescbc, secretbox, identity, kms].filter((one) => one !== null).length
  const mistakes = count === 1 ? [] : [invalid(path, shown(provider), count === 0 ? NONE : SEVERAL)]
  if (kms) mistakes.push(...kmsMistakes(kms, { path: `${path}.kms`, kmsNames }))
  else if (aesgcm) mistakes.push(...keysMistakes(aesgcm.keys, `${path}.aesgcm`, KEY_BYTES.aesgcm))
  else if (aescbc) mistakes.push(...keysMistakes(aescbc.keys, `${path}.aescbc`, KEY_BYTES.aescbc))
  else if (secretbox)
    mistakes.push(...keysMistakes(secretbox.keys, `${path}.secretbox`, KEY_BYTES.secretbox))
  return mistakes
}

const NONE =
  "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
const SEVERAL =
  "more than one provider specified in a single element, should split into different list elements"

/** As Go prints its own type, but for the secrets: Kubernetes prints those too. */
function shown({ aesgcm, aescbc, secretbox, identity, kms }: RawProvider): unknown {
  const keys = (held: { readonly keys: readonly RawKey[] } | null) =>
    held && { Keys: held.keys.map(({ name }) => ({ Name: name, Secret: "REDACTED" })) }
  return {
    AESGCM: keys(aesgcm),
    AESCBC: keys(aescbc),
    Secretbox: keys(secretbox),
    Identity: identity,
    KMS: kms && {
      APIVersion: kmsVersion(kms),
      Name: kms.name,
      CacheSize: kms.cachesize,
      Endpoint: kms.endpoint,
      Timeout: kms.timeout?.text ?? "3s",
    },
  }
}

function keysMistakes(
  keys: readonly RawKey[],
  provider: string,
  lengths: readonly number[],
): string[] {
  const path = `${provider}.keys`
  if (keys.length === 0) return [required(path, "at least one keys is required")]
  return keys.flatMap((key, i) => [
    ...(key.name === ""
      ? [required(`${path}[${i}].name`, "name is a mandatory field for a key")]
      : []),
    ...secretMistakes(key.secret, `${path}[${i}].secret`, lengths),
  ])
}

function secretMistakes(secret: string, path: string, lengths: readonly number[]): string[] {
  if (secret === "") return [required(path, "secret is a mandatory field for a key")]
  const bytes = secretBytes(secret)
  if (bytes === undefined) return [invalid(path, "REDACTED", "secrets must be base64 encoded")]
  const { length } = bytes
  if (lengths.includes(length)) return []
  const expected = `got ${length}, expected one of [${lengths.join(" ")}]`
  return [invalid(path, "REDACTED", `secret is not of the expected length, ${expected}`)]
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** Standard base64 with padding; line breaks are passed over, as in Go. */
export function secretBytes(secret: string): Buffer | undefined {
  const joined = secret.replace(/[\r\n]/g, "")
  return BASE64.test(joined) ? Buffer.from(joined, "base64") : undefined
}

const kmsVersion = ({ apiVersion }: RawKms): string => (apiVersion === "" ? "v1" : apiVersion)

/** Names of version 1 may repeat, as without reload in Kubernetes. */
function kmsMistakes(kms: RawKms, { path, kmsNames }: Seen): string[] {
  const { name, endpoint, cachesize, timeout } = kms
  const version = kmsVersion(kms)
  const mistakes: string[] = []
  const add = (field: string, value: unknown, detail: string) =>
    mistakes.push(invalid(`${path}.${field}`, value, detail))
  if (name === "")
    mistakes.push(required(`${path}.name`, "name is a mandatory field for a provider"))
  if (version !== "v1" && name.includes(":"))
    add("name", name, `invalid KMS provider name ${name}, must not contain ':'`)
  if (version !== "v1" && kmsNames.has(name))
    add("name", name, `duplicate KMS provider name ${name}, names must be unique`)
  kmsNames.add(name)
  if (timeout && !timeout.positive)
    add("timeout", timeout.text, "timeout should be a positive value")
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(endpoint)?.[1]?.toLowerCase() ?? ""
  if (endpoint === "") add("endpoint", "", "endpoint is a mandatory field for a kms")
  else if (scheme !== "unix")
    add(
      "endpoint",
      endpoint,
      `unsupported scheme "${scheme}" for KMS provider, only unix is supported`,
    )
  if (version !== "v1" && cachesize !== null)
    add("cachesize", cachesize, "cachesize is not supported in v2")
  if (version === "v1" && cachesize === 0)
    add("cachesize", 0, "cachesize should be a positive value, or negative to disable")
  if (version !== "v1" && version !== "v2")
    add(
      "apiVersion",
      version,
      "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported",
    )
  return mistakes
}
