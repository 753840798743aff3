/** From a key's name and bytes to the provider that seals and opens with it. */

import { createSecretKey, type KeyObject } from "node:crypto"
import { bug } from "../errors.ts"
import { aescbc } from "./aescbc.ts"
import { aesgcm } from "./aesgcm.ts"
import { identity } from "./identity.ts"
import type { Key, Provider, ProviderName } from "./provider.ts"
import { secretbox } from "./secretbox.ts"

export type KeyProvider = Exclude<ProviderName, "identity">

/** How many bytes a key may have. */
export const KEY_BYTES: Readonly<Record<KeyProvider, readonly number[]>> = {
  aescbc: [16, 24, 32],
  aesgcm: [16, 24, 32],
  secretbox: [32],
}

const MAKERS: Readonly<Record<KeyProvider, (key: Key) => Provider>> = { aescbc, aesgcm, secretbox }

export interface ProviderSpec {
  readonly provider: ProviderName
  /** The key's name; identity has none. */
  readonly name: string
  readonly secret: Buffer | KeyObject
}

/** Whoever reads keys from outside has checked their length ({@link KEY_BYTES}). */
export function makeProvider(spec: ProviderSpec | { readonly provider: "identity" }): Provider {
  if (!("secret" in spec) || spec.provider === "identity") return identity
  const secret = Buffer.isBuffer(spec.secret) ? createSecretKey(spec.secret) : spec.secret
  const bytes = secret.symmetricKeySize ?? 0
  if (!KEY_BYTES[spec.provider].includes(bytes)) bug(`${spec.provider} key of ${bytes} bytes`)
  return MAKERS[spec.provider]({ name: spec.name, secret })
}
