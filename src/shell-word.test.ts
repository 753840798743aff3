import { execFileSync } from "node:child_process"
import fc from "fast-check"
import { expect, test } from "vitest"
import { shellWord } from "./shell-word.ts"

test("a shell reads the word again as it was", () => {
  const text = fc
    .string({ unit: "binary-ascii", maxLength: 20 })
    .map((of) => of.replaceAll("\0", ""))
  const words = fc.array(text, { minLength: 1, maxLength: 50 })
  fc.assert(
    fc.property(words, (all) => {
      const typed = all.map((word) => `printf '%s\\0' ${shellWord(word)}`).join("\n")
      expect(execFileSync("sh", ["-c", typed]).toString()).toBe(
        all.map((word) => `${word}\0`).join(""),
      )
    }),
    { numRuns: 20 },
  )
  expect(shellWord("/srv/keyturn-1/state.db")).toBe("/srv/keyturn-1/state.db")
})
