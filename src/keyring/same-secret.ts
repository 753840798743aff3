/** Comparing secrets without telling anything about them. */
import { createHash, timingSafeEqual } from "node:crypto"

export const digestOf = (secret: string | Uint8Array): Buffer =>
  createHash("sha256").update(secret).digest()

/** In a time that tells nothing about either secret, their lengths included. */
export const sameSecret = (one: string, other: string): boolean =>
  timingSafeEqual(digestOf(one), digestOf(other))
