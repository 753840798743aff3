/** What a stored value says of itself before anybody opens it: `k8s:enc:<provider>:<version>:<key name>:` and then
 *  sealed bytes, or plaintext. A key name may contain ':' and nothing says where it ends, so known keys are matched as
 *  whole prefixes; the reading of unknown ones is a best effort, for people. */

/** Reserved by Kubernetes: no plaintext begins with it. Never change. */
export const ENCRYPTED = Buffer.from("k8s:enc:")

export const isEncrypted = (stored: Uint8Array): boolean => startsWith(stored, ENCRYPTED)

/** What stored protobuf begins with. Never change. */
export const PROTOBUF = Buffer.from("k8s\0")

/** What a Secret begins with where it lies in plain text: runtime.Unknown, and in it TypeMeta{v1, Secret}. Never change. */
export const PLAIN_SECRET = Buffer.from("k8s\0\n\x0c\n\x02v1\x12\x06Secret", "latin1")

/** What stored CBOR begins with, its tag: custom resources. */
const CBOR = Buffer.from("d9d9f7", "hex")

/** Whether plaintext can be a stored object: protobuf, CBOR, or JSON to its end, as one byte is no proof. AES-CBC proves
 *  nothing about what it opens: under a wrong key one value in 256 has a padding that fits. */
export const isObject = (plaintext: Buffer): boolean =>
  startsWith(plaintext, PROTOBUF) || startsWith(plaintext, CBOR) || isJsonObject(plaintext)

function isJsonObject(plaintext: Buffer): boolean {
  if (plaintext[0] !== 0x7b) return false
  try {
    JSON.parse(plaintext.toString("utf8"))
    return true
  } catch {
    return false
  }
}

/** What all values of one key begin with. Never change. */
export const prefixOf = ({ provider, name }: { provider: string; name: string }): Buffer =>
  Buffer.from(`k8s:enc:${provider}:v1:${name}:`)

/** An empty prefix is that of plaintext. */
export const hasPrefix = (stored: Uint8Array, prefix: Uint8Array): boolean =>
  prefix.length === 0 ? !isEncrypted(stored) : startsWith(stored, prefix)

/** From the end: the prefixes of keys differ in their last bytes. */
function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  for (let i = prefix.length - 1; i >= 0; i--) if (bytes[i] !== prefix[i]) return false
  return true
}

/** Whose a value claims to be; `name` is a guess where the key is not one of ours. */
export interface Claim {
  readonly provider: string
  readonly version: string
  readonly name: string
}

/** K3s' names hold a time; any other is taken to end at its first ':'. */
const CLAIM =
  /^k8s:enc:([a-z0-9]+):(v\d+):([^:]*-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)|[!-9;-~]+):/
const CLAIM_BYTES_MAX = 320

/** Undefined for plaintext and for what only begins like an encrypted value. */
export function claimOf(stored: Uint8Array): Claim | undefined {
  const head = Buffer.from(stored.subarray(0, CLAIM_BYTES_MAX)).toString("latin1")
  const [, provider, version, name] = CLAIM.exec(head) ?? []
  if (provider === undefined || version === undefined || name === undefined) return undefined
  return { provider, version, name }
}

/** For messages: names the key, never shows content. */
export function describeValue(stored: Uint8Array): string {
  if (!isEncrypted(stored)) return "the value is plaintext"
  const claim = claimOf(stored)
  if (claim === undefined) return "the value begins with k8s:enc: but names no key"
  const { provider, version, name } = claim
  const holder = provider === "kms" ? "plugin" : "key"
  return `the value was written by ${provider} ${version}, ${holder} ${JSON.stringify(name)}`
}
