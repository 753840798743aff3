import { expect, test } from "vitest"
import { drawNonce } from "./nonce.ts"

test("nonces have the length asked for, and none is given twice, over many blocks", () => {
  const seen = new Set<string>()
  for (let n = 0; n < 2_000; n++)
    for (const sizeBytes of [12, 16, 24]) {
      const drawn = drawNonce(sizeBytes)
      expect(drawn).toHaveLength(sizeBytes)
      // Any twelve bytes of one: two that overlap would share them.
      for (let at = 0; at + 12 <= sizeBytes; at++)
        seen.add(drawn.subarray(at, at + 12).toString("hex"))
    }
  expect(seen.size).toBe(2_000 * (1 + 5 + 13))
})
