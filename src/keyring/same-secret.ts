/** Comparing secrets without telling anything about them. */
import { createHash, timingSafeEqual } from "node:crypto"

/** SHA-256. */
export const digestOf = (data: string | Uint8Array): Buffer =>
  createHash("sha256").update(data).digest()

/** In a time that tells nothing about either secret, their lengths included. */
export const sameSecret = (one: string, other: string): boolean =>
  timingSafeEqual(digestOf(one), digestOf(other))
