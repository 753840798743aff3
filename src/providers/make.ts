/** From a key's name and bytes to the provider that seals and opens with it. */

import { bug } from "../errors.ts"
import { aescbc } from "./aescbc.ts"
import { aesgcm } from "./aesgcm.ts"
import type { Key, KeyProvider, Provider } from "./provider.ts"
import { secretbox } from "./secretbox.ts"

/** How many bytes a key may have. */
export const KEY_BYTES: Readonly<Record<KeyProvider, readonly number[]>> = {
  aescbc: [16, 24, 32],
  aesgcm: [16, 24, 32],
  secretbox: [32],
}

const MAKERS: Readonly<Record<KeyProvider, (key: Key) => Provider>> = { aescbc, aesgcm, secretbox }

/** Whoever reads keys from outside has checked their length ({@link KEY_BYTES}). */
export function makeProvider(key: Key & { readonly provider: KeyProvider }): Provider {
  const { provider, secret } = key
  const bytes = secret.symmetricKeySize ?? 0
  if (!KEY_BYTES[provider].includes(bytes)) bug(`${provider} key of ${bytes} bytes`)
  return MAKERS[provider](key)
}
