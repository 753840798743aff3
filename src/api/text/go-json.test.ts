import fc from "fast-check"
import { expect, test } from "vitest"
import { GoJsonError, parseGoJson } from "./go-json.ts"

/** The value, or Go's words. */
function outcome(text: string): unknown {
  try {
    return parseGoJson(text).value
  } catch (error) {
    if (error instanceof GoJsonError) return error.message
    throw error
  }
}

// What encoding/json of Go 1.24 says; its scanner's own words.
// biome-ignore format: a table
test.each([
  ["",              "unexpected end of JSON input"],
  ["  ",            "unexpected end of JSON input"],
  ['{"a":',         "unexpected end of JSON input"],
  ['{"a"',          "unexpected end of JSON input"],
  ['"a',            "unexpected end of JSON input"],
  ["tru",           "unexpected end of JSON input"],
  ["-",             "unexpected end of JSON input"],
  ["1.",            "unexpected end of JSON input"],
  ["1e",            "unexpected end of JSON input"],
  ["x",             "invalid character 'x' looking for beginning of value"],
  ["'",             "invalid character '\\'' looking for beginning of value"],
  ["é",             "invalid character 'Ã' looking for beginning of value"],
  ["{} x",          "invalid character 'x' after top-level value"],
  ["{a:1}",         "invalid character 'a' looking for beginning of object key string"],
  ['{"a":1,}',      "invalid character '}' looking for beginning of object key string"],
  ['{"a" 1}',       "invalid character '1' after object key"],
  ['{"a":1 "b"}',   "invalid character '\"' after object key:value pair"],
  ["[1 2]",         "invalid character '2' after array element"],
  ["[1,]",          "invalid character ']' looking for beginning of value"],
  ['"\n"',          "invalid character '\\n' in string literal"],
  ['"\\x"',         "invalid character 'x' in string escape code"],
  ['"\\u00g0"',     "invalid character 'g' in \\u hexadecimal character escape"],
  ["truth",         "invalid character 't' in literal true (expecting 'e')"],
  ["nil",           "invalid character 'i' in literal null (expecting 'u')"],
  ["-x",            "invalid character 'x' in numeric literal"],
  ["1.x",           "invalid character 'x' after decimal point in numeric literal"],
  ["1e+x",          "invalid character 'x' in exponent of numeric literal"],
  ["01",            "invalid character '1' after top-level value"],
])("%j is told as Go tells it", (text, message) => {
  expect(outcome(text)).toBe(message)
})

test("whatever JSON.stringify writes is read back", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), (text) => {
      expect(outcome(text)).toEqual(JSON.parse(text))
    }),
  )
})

test("whatever JSON.parse refuses is refused", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(...'[]{}":,0123.eE+-truefalsn\\u \n') }),
      (text) => {
        let parsed = true
        try {
          JSON.parse(text)
        } catch {
          parsed = false
        }
        expect(outcome(text) === undefined).toBe(false)
        if (!parsed) expect(() => parseGoJson(text)).toThrow(GoJsonError)
        else expect(() => parseGoJson(text)).not.toThrow()
      },
    ),
    { numRuns: 2000 },
  )
})

test("names that come twice are noted at their object, and the last value counts", () => {
  const { value, duplicates } = parseGoJson('{"a":{"x":1,"y":2,"x":3,"x":4},"b":{"x":1}}')
  expect(value).toEqual({ a: { x: 4, y: 2 }, b: { x: 1 } })
  expect([...duplicates].map(([object, names]) => [object, [...names]])).toEqual([
    [{ x: 4, y: 2 }, ["x"]],
  ])
})

test("__proto__ is a name like any other", () => {
  const { value } = parseGoJson('{"__proto__":"x"}')
  expect(Object.entries(value as object)).toEqual([["__proto__", "x"]])
})

test("lone surrogates become U+FFFD", () => {
  expect(outcome('"\\ud800x"')).toBe("\ufffdx")
})

test("nesting without end is refused, not followed", () => {
  expect(outcome("[".repeat(100_000))).toBe("exceeded max depth")
})
