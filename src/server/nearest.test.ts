import fc from "fast-check"
import { expect, test } from "vitest"
import { edits, nearest } from "./nearest.ts"

test.each([
  ["", "", 0],
  ["", "abc", 3],
  ["token", "token", 0],
  ["toekn", "token", 2],
  ["kitten", "sitting", 3],
  ["data-dri", "data-dir", 2],
])("edits from %j to %j: %i", (from, to, count) => {
  expect(edits(from, to)).toBe(count)
})

test("edits are a distance: none to itself, the same both ways, no shortcut over a third word", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", "-"), maxLength: 7 })
  fc.assert(
    fc.property(word, word, word, (a, b, c) => {
      expect(edits(a, b) === 0).toBe(a === b)
      expect(edits(a, b)).toBe(edits(b, a))
      expect(edits(a, c)).toBeLessThanOrEqual(edits(a, b) + edits(b, c))
    }),
  )
})

test("no candidate is nearer than the nearest, and a word among them is its own", () => {
  const words = fc.array(fc.string({ maxLength: 8 }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(fc.string({ maxLength: 8 }), words, (word, candidates) => {
      const found = nearest(word, candidates)
      for (const other of candidates) {
        expect(edits(word, found)).toBeLessThanOrEqual(edits(word, other))
      }
      if (candidates.includes(word)) expect(found).toBe(word)
    }),
  )
})
