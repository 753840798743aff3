/** An EncryptionConfiguration (apiserver.config.k8s.io/v1) as its text has it: types are checked, nothing else. */

import { type Held, int32, listOf, optional, type Shape, struct, text } from "./strict.ts"

/** `text` is as it was written. */
interface Duration {
  readonly text: string
  readonly positive: boolean
}

const DURATION = /^([-+]?)(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/

/** Go's time.Duration. */
const duration: Shape<Duration> = {
  go: "v1.Duration",
  zero: () => ({ text: "0s", positive: false }),
  read(value, at) {
    const written = text.read(value, at)
    const [, sign] = DURATION.exec(written) ?? []
    if (sign === undefined)
      at.mistakes.fatal.push(`time: invalid duration ${JSON.stringify(written)}`)
    return { text: written, positive: sign !== "-" && /[1-9]/.test(written) }
  },
}

const key = struct("Key", { name: text, secret: text })
const aes = struct("AESConfiguration", { keys: listOf(key) })
const secretbox = struct("SecretboxConfiguration", { keys: listOf(key) })
const identity = struct("IdentityConfiguration", {})
const kms = struct("KMSConfiguration", {
  apiVersion: text,
  name: text,
  cachesize: optional(int32),
  endpoint: text,
  timeout: optional(duration),
})

const provider = struct("ProviderConfiguration", {
  aesgcm: optional(aes),
  aescbc: optional(aes),
  secretbox: optional(secretbox),
  identity: optional(identity),
  kms: optional(kms),
})

const resource = struct("ResourceConfiguration", {
  resources: listOf(text),
  providers: listOf(provider),
})

export const configuration = struct("EncryptionConfiguration", {
  kind: text,
  apiVersion: text,
  resources: listOf(resource),
})

export type RawConfiguration = Held<typeof configuration>
export type RawProvider = Held<typeof provider>
export type RawKey = Held<typeof key>
export type RawKms = Held<typeof kms>
