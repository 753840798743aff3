/** Stored after the prefix: IV (16) | AES-CBC with PKCS#7 padding. Nothing authenticates it: a changed byte can pass,
 *  and a value opens in any place. The padding is checked as Kubernetes does: any length up to the whole body. */

import { createCipheriv, createDecipheriv } from "node:crypto"
import { KnownError } from "../errors.ts"
import { prefixOf } from "../format/value.ts"
import { tooShort } from "./failures.ts"
import { drawNonce } from "./nonce.ts"
import type { Key, Provider } from "./provider.ts"

const BLOCK_BYTES = 16

export function aescbc({ name, secret }: Key): Provider {
  const prefix = prefixOf({ provider: "aescbc", name })
  const label = `aescbc key ${JSON.stringify(name)}`
  const algorithm = `aes-${(secret.symmetricKeySize ?? 0) * 8}-cbc`
  return {
    prefix,
    seal(plaintext) {
      const iv = drawNonce(BLOCK_BYTES)
      const cbc = createCipheriv(algorithm, secret, iv)
      return Buffer.concat([prefix, iv, cbc.update(plaintext), cbc.final()])
    },
    open(stored) {
      const body = stored.subarray(prefix.length)
      if (body.length < 2 * BLOCK_BYTES) throw tooShort(label)
      if (body.length % BLOCK_BYTES !== 0)
        throw new KnownError(
          "ValueCorrupt",
          `${label}: the stored data is not a multiple of the block size`,
        )
      const iv = body.subarray(0, BLOCK_BYTES)
      const cbc = createDecipheriv(algorithm, secret, iv).setAutoPadding(false)
      return unpadded(cbc.update(body.subarray(BLOCK_BYTES)), label)
    },
  }
}

function unpadded(padded: Buffer, label: string): Buffer {
  const padding = padded.at(-1) ?? 0
  const end = padded.length - padding
  const valid = padding > 0 && end >= 0 && padded.subarray(end).every((byte) => byte === padding)
  if (!valid) throw new KnownError("KeyDidNotOpen", `${label}: invalid padding on input`)
  return padded.subarray(0, end)
}
