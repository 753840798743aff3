import { createHash } from "node:crypto"
import { describe, expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import {
  hashConfig,
  parseEncryptionConfiguration,
  printEncryptionConfiguration,
} from "./encryption-configuration.ts"

const KEY_16 = "AAECAwQFBgcICQoLDA0ODw=="
const KEY_32 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
const HEAD = { kind: "EncryptionConfiguration", apiVersion: "apiserver.config.k8s.io/v1" }
const IDENTITY = [{ identity: {} }]
const aescbc = (secret = KEY_32, name = "k") => ({ aescbc: { keys: [{ name, secret }] } })

const parse = (source: string) => parseEncryptionConfiguration(source, { file: "f.yaml" })
const parseValue = (value: object) => parse(JSON.stringify({ ...HEAD, ...value }))

/** The message of the refusal, without its constant beginning. */
function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (!isKnown(error, "ConfigInvalid")) throw error
    return error.message.replace("error while parsing file: ", "")
  }
  return "taken"
}

const entry = (resources: unknown, providers: unknown = IDENTITY) => ({
  resources: [{ resources, providers }],
})

describe("K3s' file", () => {
  const file = (providers: string) =>
    `{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["secrets"],"providers":[${providers}]}]}`
  const key = `{"aescbc":{"keys":[{"name":"aescbckey-2026-08-06T19:44:59-07:00","secret":"${KEY_32}"}]}}`
  const box = `{"secretbox":{"keys":[{"name":"secretboxkey","secret":"${KEY_32}"}]}}`

  test.each([`${key},{"identity":{}}`, `{"identity":{}},${key}`, `${key},${box},{"identity":{}}`])(
    "is printed as it was read",
    (providers) => {
      expect(printEncryptionConfiguration(parse(file(providers)))).toBe(file(providers))
    },
  )

  test("has the characters that Go escapes escaped", () => {
    const source = file(key.replace("aescbckey-", "<&>"))
    const printed = printEncryptionConfiguration(parse(source))
    expect(printed).toContain("\\u003c\\u0026\\u003e2026")
    expect(parse(printed)).toEqual(parse(source))
  })

  test("is hashed as it stands", () => {
    expect(hashConfig("abc")).toBe(createHash("sha256").update("abc").digest("hex"))
  })
})

test("Kubernetes' old name of the kind is read", () => {
  const source = JSON.stringify({
    kind: "EncryptionConfig",
    apiVersion: "v1",
    ...entry(["secrets"]),
  })
  expect(printEncryptionConfiguration(parse(source))).toContain('"kind":"EncryptionConfiguration"')
})

test("a key's line breaks are passed over, and its length is checked in bytes", () => {
  const broken = aescbc(`${KEY_32.slice(0, 20)}\r\n${KEY_32.slice(20)}\n`)
  const secretOf = (provider: object) =>
    printEncryptionConfiguration(parseValue(entry(["secrets"], [provider])))
  expect(secretOf(broken)).toBe(secretOf(aescbc()))
})

const at = "resources[0].resources"
const OVERLAP =
  "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"
const DUPLICATE = "the same resource cannot be specified multiple times"

// biome-ignore format: a table
const LISTS: readonly (readonly [list: string[], refused: string])[] = [
  [["secrets", "configmaps", "deployments.apps", "*.extra"], "taken"],
  [["*.apps", "*."], "taken"],
  [[], `${at}: Required value: at least one ${at} is required`],
  [["Secrets"], `${at}[0]: Invalid value: "Secrets": resource name should not contain capital letters`],
  [["*"], `${at}[0]: Invalid value: "*": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources`],
  [["apiserveripinfo"], `${at}[0]: Invalid value: "apiserveripinfo": resources which do not have REST API/s cannot be encrypted`],
  [["serviceipallocations"], `${at}[0]: Invalid value: "serviceipallocations": resources which do not have REST API/s cannot be encrypted`],
  [["servicenodeportallocations"], `${at}[0]: Invalid value: "servicenodeportallocations": resources which do not have REST API/s cannot be encrypted`],
  [["*.events.k8s.io"], `${at}[0]: Invalid value: "*.events.k8s.io": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file`],
  [["*.extensions"], `${at}[0]: Invalid value: "*.extensions": 'extensions' group has been removed and cannot be used for encryption`],
  [["secrets.*"], `${at}[0]: Invalid value: "secrets.*": encrypting the same resource across groups is not supported`],
  [["a", "a"], `${at}: Invalid value: ["a","a"]: ${DUPLICATE}`],
  [["a", "a."], `${at}: Invalid value: ["a","a."]: ${DUPLICATE}`],
  [["secrets", "*."], `${at}: Invalid value: ["secrets","*."]: ${OVERLAP}`],
  [["*.apps", "deployments.apps"], `${at}: Invalid value: ["*.apps","deployments.apps"]: ${OVERLAP}`],
  [["*.*", "secrets"], `${at}: Invalid value: ["*.*","secrets"]: ${OVERLAP}`],
  [["*.", "*."], `[${at}: Invalid value: ["*.","*."]: ${DUPLICATE}, ${at}: Invalid value: ["*.","*."]: ${OVERLAP}]`],
]

test.each(LISTS)("resources %j", (list, refused) => {
  expect(refusal(() => parseValue(entry(list)))).toBe(refused)
})

const MASKED = "error while building transformers: "
// biome-ignore format: a table
const MASKS: readonly (readonly [lists: string[][], refused: string])[] = [
  [[["secrets"], ["secrets"], ["*.apps"], ["*."], ["*.*"]], "taken"],
  [[["*."], ["secrets"]], `${MASKED}resource "secrets" is masked by earlier rule "*."`],
  [[["*."], ["*."]], `${MASKED}resource "*." is masked by earlier rule "*."`],
  [[["*.apps"], ["deployments.apps"]], `${MASKED}resource "deployments.apps" is masked by earlier rule "*.apps"`],
  [[["*.*"], ["*.", "pods.x.y"]], `${MASKED}[resource "*." is masked by earlier rule "*.*", resource "pods.x.y" is masked by earlier rule "*.*"]`],
]

test.each(MASKS)("entries %j", (lists, refused) => {
  const resources = lists.map((list) => ({ resources: list, providers: IDENTITY }))
  expect(refusal(() => parseValue({ resources }))).toBe(refused)
})

const p = "resources[0].providers[0]"
const kms = (fields: object) => ({
  kms: { name: "n", endpoint: "unix:///s", apiVersion: "v2", ...fields },
})
// biome-ignore format: a table
const PROVIDERS: readonly (readonly [provider: object, refused: string])[] = [
  [{}, `${p}: Invalid value: {"AESGCM":null,"AESCBC":null,"Secretbox":null,"Identity":null,"KMS":null}: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity`],
  [{ secretbox: { keys: [{ name: "k", secret: KEY_16 }] } }, `${p}.secretbox.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 16, expected one of [32]`],
  [{ aesgcm: {} }, `${p}.aesgcm.keys: Required value: at least one keys is required`],
  [aescbc("AAEC AwQF"), `${p}.aescbc.keys[0].secret: Invalid value: "REDACTED": secrets must be base64 encoded`],
  [aescbc("-_-_"), `${p}.aescbc.keys[0].secret: Invalid value: "REDACTED": secrets must be base64 encoded`],
  [kms({}), "taken"],
  [kms({ apiVersion: undefined, name: "a:b", cachesize: -1, timeout: "1m0.5s" }), "taken"],
  [kms({ name: "" }), `${p}.kms.name: Required value: name is a mandatory field for a provider`],
  [kms({ name: "a:b" }), `${p}.kms.name: Invalid value: "a:b": invalid KMS provider name a:b, must not contain ':'`],
  [kms({ endpoint: "" }), `${p}.kms.endpoint: Invalid value: "": endpoint is a mandatory field for a kms`],
  [kms({ endpoint: "tcp://x" }), `${p}.kms.endpoint: Invalid value: "tcp://x": unsupported scheme "tcp" for KMS provider, only unix is supported`],
  [kms({ timeout: "0s" }), `${p}.kms.timeout: Invalid value: "0s": timeout should be a positive value`],
  [kms({ timeout: "-3s" }), `${p}.kms.timeout: Invalid value: "-3s": timeout should be a positive value`],
  [kms({ cachesize: 1 }), `${p}.kms.cachesize: Invalid value: 1: cachesize is not supported in v2`],
  [kms({ apiVersion: "v1", cachesize: 0 }), `${p}.kms.cachesize: Invalid value: 0: cachesize should be a positive value, or negative to disable`],
  [kms({ apiVersion: "v3" }), `${p}.kms.apiVersion: Invalid value: "v3": unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported`],
]

test.each(PROVIDERS)("provider %j", (provider, refused) => {
  expect(refusal(() => parseValue(entry(["secrets"], [provider])))).toBe(refused)
})

test("a KMS name that comes twice", () => {
  const twice = { resources: [1, 2].map(() => ({ resources: ["secrets"], providers: [kms({})] })) }
  expect(refusal(() => parseValue(twice))).toBe(
    'resources[1].providers[0].kms.name: Invalid value: "n": duplicate KMS provider name n, names must be unique',
  )
})

test("kms is read and not printed", () => {
  const config = parseValue(entry(["secrets"], [kms({}), ...IDENTITY]))
  expect(config.resources[0]?.providers[0]).toEqual({ provider: "kms", name: "n" })
  expect(refusal(() => printEncryptionConfiguration(config))).toBe(
    'kms is not supported: provider "n"',
  )
})

test("all mistakes come in one go, each once", () => {
  const value = {
    foo: 1,
    resources: [
      {
        resources: ["Secrets"],
        providers: [aescbc("AAAA", ""), { secretbox: { keys: [], bar: 1 } }],
      },
      {},
    ],
  }
  expect(refusal(() => parseValue(value))).toBe(
    `[${[
      'error decoding encryption provider configuration file "f.yaml": strict decoding error: unknown field "foo", unknown field "resources[0].providers[1].secretbox.bar"',
      'resources[0].resources[0]: Invalid value: "Secrets": resource name should not contain capital letters',
      "resources[0].providers[0].aescbc.keys[0].name: Required value: name is a mandatory field for a key",
      'resources[0].providers[0].aescbc.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 3, expected one of [16 24 32]',
      "resources[0].providers[1].secretbox.keys: Required value: at least one keys is required",
      "resources[1].resources: Required value: at least one resources[1].resources is required",
      "resources[1].providers: Required value: at least one resources[1].providers is required",
    ].join(", ")}]`,
  )
})

const decoding = 'error decoding encryption provider configuration file "f.yaml": '
const head = "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\n"
// biome-ignore format: a table
const TEXTS: readonly (readonly [text: string, refused: string])[] = [
  [`${head}resources: []\n`, "resources: Required value: at least one resources is required"],
  [`${head}resources:\n`, "resources: Required value: at least one resources is required"],
  [`${head}kind: EncryptionConfiguration\nresources: [{resources: [a], providers: [{identity: {}}]}]`, `${decoding}strict decoding error: yaml: unmarshal errors:\n  line 3: key "kind" already set in map`],
  [`${head}resources: x`, `${decoding}json: cannot unmarshal string into Go struct field EncryptionConfiguration.resources of type []v1.ResourceConfiguration`],
  [`${head}resources: [{resources: [1], providers: [{identity: 7}]}]`, `[${decoding}json: cannot unmarshal number into Go struct field ResourceConfiguration.resources.resources of type string, ${decoding}json: cannot unmarshal number into Go struct field ProviderConfiguration.resources.providers.identity of type v1.IdentityConfiguration]`],
  [`${head}resources: [{resources: [a], providers: [{aescbc: {keys: [{name: yes, secret: []}]}}]}]`, `[${decoding}json: cannot unmarshal bool into Go struct field Key.resources.providers.aescbc.keys.name of type string, ${decoding}json: cannot unmarshal array into Go struct field Key.resources.providers.aescbc.keys.secret of type string]`],
  [`${head}resources: [{resources: [a], providers: [{kms: {timeout: 3x}}]}]`, `${decoding}time: invalid duration "3x"`],
  ["[]", `${decoding}Object 'Kind' is missing`],
  ["kind: EncryptionConfiguration", `${decoding}Object 'apiVersion' is missing`],
  ["kind: EncryptionConfiguration\napiVersion: v1", `${decoding}no kind "EncryptionConfiguration" is registered for version "v1"`],
  ["kind: [\n", `${decoding}yaml: line 2: bad indent`],
  [`${head}---\n${head}`, `${decoding}yaml: line 3: multiple docs`],
  ["kind: *a\n", `${decoding}yaml: an alias cannot be resolved`],
  [`a: ${"[".repeat(10_000)}`, `${decoding}yaml: line 1: resource exhaustion`],
]

test.each(TEXTS)("text %#", (text, refused) => {
  expect(refusal(() => parse(text))).toBe(refused)
})

test("no message holds a secret, wherever it stands", () => {
  const secret = "UExBTlRFRC1TRUNSRVQtUExBTlRFRA=="
  const broken = [
    `${head}resources: [{resources: [a], providers: [{identity: {}, aescbc: {keys: [{name: k, secret: ${secret}}]}}]}]`,
    `${head}resources: [{resources: [a], providers: [{aescbc: {keys: [{name: k, secret: ${secret}]}]}]`,
    `${head}resources: [{resources: [a], providers: [{aescbc: {keys: [{name: k, secret: *${secret}}]}}]}]`,
    `${head}resources: [{resources: [a], providers: [{aescbc: {keys: [${secret}]}}]}]`,
    `{"secret": "${secret}"}`,
    secret,
  ]
  for (const text of broken) {
    const message = refusal(() => parse(text))
    expect(message).not.toBe("taken")
    expect(message).not.toContain(secret.slice(0, 8))
  }
})
