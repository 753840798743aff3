import fc from "fast-check"
import { expect, test } from "vitest"
import { toYaml } from "./yaml-write.ts"
import { parseYaml } from "./yaml-read.ts"

test("whatever is written is read back", () => {
  const text = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.string({ unit: fc.constantFrom(..."ab19.:-#'\"\\\n\t {}[],&*!|>%@`~=") }),
    fc.constantFrom(
      "yes",
      "n",
      "null",
      "~",
      "1e3",
      "0x1F",
      "012",
      "1_000",
      "12:30",
      "2026-01-01",
      ".inf",
      "<<",
      "-",
      "",
      " ",
    ),
  )
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: "small" },
      text,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      tie("list"),
      tie("map"),
    ),
    list: fc.array(tie("any"), { maxLength: 4 }),
    map: fc.dictionary(text, tie("any"), { maxKeys: 4, noNullPrototype: true }),
  })).any
  fc.assert(
    fc.property(value, (given) => {
      expect(parseYaml(toYaml(given)).value).toEqual(given)
    }),
    { numRuns: 500 },
  )
})

// As sigs.k8s.io/yaml quotes them.
// biome-ignore format: a table
test.each([
  ["plain text", "plain text"],  ["a: b", "'a: b'"],        ["it's", "it's"],      ["'x'", "'''x'''"],
  ["true", '"true"'],            ["1", '"1"'],              ["1.5", '"1.5"'],      ["", '""'],
  ["null", '"null"'],            ["y", '"y"'],              ["- a", "'- a'"],      ["-a", "-a"],
  ["a #b", "'a #b'"],            ["a#b", "a#b"],            [" a", "' a'"],        ["@x", "'@x'"],
  ["2026-11-23T21:00:00Z", '"2026-11-23T21:00:00Z"'],       ["one\ntwo\n", "|\n  one\n  two"],
  ["one\ntwo", "|-\n  one\n  two"],                         ["bell\x07", '"bell\\u0007"'],
])("%j is written as %s", (text, written) => {
  expect(toYaml({ k: text })).toBe(`k: ${written}\n`)
})

test("a lone dot is a string", () => {
  expect(parseYaml(".: .").value).toEqual({ ".": "." })
})
