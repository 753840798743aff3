/** What a provider does: seal and open one stored value. The names and layouts are Kubernetes'
 *  (k8s.io/apiserver storage/value/encrypt); bytes on disk depend on them: never change one. */

import type { KeyObject } from "node:crypto"

/** The providers that have a key; identity has none. */
export const KEY_PROVIDERS = ["aescbc", "aesgcm", "secretbox"] as const
export type KeyProvider = (typeof KEY_PROVIDERS)[number]

/** A provider with one key. `aad` is the full storage key as UTF-8; aescbc and secretbox do not bind it. */
export interface Provider {
  /** What every value of this key begins with, e.g. `k8s:enc:aescbc:v1:aescbckey:`; empty for identity. */
  readonly prefix: Buffer
  /** The whole stored value, prefix included. */
  seal(plaintext: Uint8Array, aad: string): Buffer
  /** `stored` begins with `prefix`. Throws KnownError KeyDidNotOpen where the key does not fit, ValueCorrupt where
   *  the value cannot be one of this provider (too short, wrong length). */
  open(stored: Buffer, aad: string): Buffer
}

/** A key that fits its provider (make.ts checks its length). */
export interface Key {
  readonly name: string
  /** A KeyObject, so that nothing prints it by accident. */
  readonly secret: KeyObject
}
