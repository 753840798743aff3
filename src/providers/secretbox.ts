/** Stored after the prefix: nonce (24) | tag (16) | ciphertext, NaCl's secretbox (XSalsa20-Poly1305). A value opens in
 *  any place. */

import { xsalsa20poly1305 } from "@noble/ciphers/salsa.js"
import { prefixOf } from "../format/value.ts"
import { bufferOf } from "../format/wire.ts"
import { notAuthentic, tooShort } from "./failures.ts"
import { drawNonce } from "./nonce.ts"
import type { Key, Provider } from "./provider.ts"

const NONCE_BYTES = 24
const TAG_BYTES = 16

export function secretbox({ name, secret }: Key): Provider {
  const prefix = prefixOf({ provider: "secretbox", name })
  const label = `secretbox key ${JSON.stringify(name)}`
  return {
    prefix,
    seal(plaintext) {
      const nonce = drawNonce(NONCE_BYTES)
      const box = xsalsa20poly1305(secret.export(), nonce).encrypt(plaintext)
      return Buffer.concat([prefix, nonce, box])
    },
    open(stored) {
      const body = stored.subarray(prefix.length)
      if (body.length < NONCE_BYTES + TAG_BYTES) throw tooShort(label)
      const cipher = xsalsa20poly1305(secret.export(), body.subarray(0, NONCE_BYTES))
      try {
        return bufferOf(cipher.decrypt(body.subarray(NONCE_BYTES)))
      } catch (cause) {
        throw notAuthentic(label, cause)
      }
    },
  }
}
