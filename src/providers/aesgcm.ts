/** Stored after the prefix: nonce (12) | ciphertext | tag (16). Additional data is the storage key, so a value opens
 *  only in its own place. Limit: 2^32 seals a key with random nonces (NIST SP 800-38D §8.3). */

import { type CipherGCMTypes, createCipheriv, createDecipheriv } from "node:crypto"
import { prefixOf } from "../format/value.ts"
import { notAuthentic, tooShort } from "./failures.ts"
import { drawNonce } from "./nonce.ts"
import type { Key, Provider } from "./provider.ts"

const NONCE_BYTES = 12
const TAG_BYTES = 16
const TAG = { authTagLength: TAG_BYTES }

export function aesgcm({ name, secret }: Key): Provider {
  const prefix = prefixOf({ provider: "aesgcm", name })
  const label = `aesgcm key ${JSON.stringify(name)}`
  const algorithm = `aes-${(secret.symmetricKeySize ?? 0) * 8}-gcm` as CipherGCMTypes
  return {
    prefix,
    seal(plaintext, aad) {
      const nonce = drawNonce(NONCE_BYTES)
      const gcm = createCipheriv(algorithm, secret, nonce, TAG).setAAD(Buffer.from(aad))
      const sealed = [gcm.update(plaintext), gcm.final(), gcm.getAuthTag()]
      return Buffer.concat([prefix, nonce, ...sealed])
    },
    open(stored, aad) {
      const body = stored.subarray(prefix.length)
      if (body.length < NONCE_BYTES + TAG_BYTES) throw tooShort(label)
      const nonce = body.subarray(0, NONCE_BYTES)
      const gcm = createDecipheriv(algorithm, secret, nonce, TAG).setAAD(Buffer.from(aad))
      gcm.setAuthTag(body.subarray(-TAG_BYTES))
      const plaintext = gcm.update(body.subarray(NONCE_BYTES, -TAG_BYTES))
      try {
        gcm.final()
      } catch (cause) {
        throw notAuthentic(label, cause)
      }
      return plaintext
    },
  }
}
