/** Nonces, drawn from the system in blocks: to draw one alone costs as much as to seal a small value. */
import { randomBytes } from "node:crypto"

const BLOCK_BYTES = 4_096

let block = Buffer.alloc(0)

/** `sizeBytes` random bytes, at most {@link BLOCK_BYTES}, that were given to nobody before. Shares its memory: copy it to keep it. */
export function drawNonce(sizeBytes: number): Buffer {
  if (block.length < sizeBytes) block = randomBytes(BLOCK_BYTES)
  const drawn = block.subarray(0, sizeBytes)
  block = block.subarray(sizeBytes)
  return drawn
}
