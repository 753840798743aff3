import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { GoJsonError } from "./go-json.ts"
import { base64Error, parseDuration, parseInt64, parseTime } from "./go-values.ts"

// What base64.StdEncoding.DecodeString says.
// biome-ignore format: a table
test.each([
  ["", undefined],       ["eA==", undefined],  ["eHg=", undefined],   ["eHh4", undefined],
  ["eA=\n=\n", undefined], ["eB==", undefined], ["***", 0],           ["eA", 0],
  ["eHh4e", 4],          ["eA=", 3],           ["eA=x", 3],           ["eA==x", 4],
  ["e===", 1],           ["=", 0],             ["eHh4-_", 4],         ["eHg=eA==", 4],
])("base64 %j: byte %j", (text, at) => {
  expect(base64Error(text)).toBe(at === undefined ? undefined : `illegal base64 data at input byte ${at}`)
})

test("what Buffer writes is base64", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(base64Error(Buffer.from(bytes).toString("base64"))).toBeUndefined()
    }),
  )
})

describe("times", () => {
  const read = (text: string, layout: "Time" | "MicroTime" = "Time") => {
    try {
      return parseTime(layout, text)
    } catch (error) {
      if (error instanceof GoJsonError) return error.message
      throw error
    }
  }

  // biome-ignore format: a table
  test.each([
    ["2026-11-23T21:00:00Z",        "2026-11-23T21:00:00Z"],
    ["2026-11-23T21:00:00.999Z",    "2026-11-23T21:00:00Z"],
    ["2026-11-23T23:30:00+02:30",   "2026-11-23T21:00:00Z"],
    ["2028-02-29T00:00:00Z",        "2028-02-29T00:00:00Z"],
    ["2026-02-29T00:00:00Z",        'parsing time "2026-02-29T00:00:00Z": day out of range'],
    ["2026-13-01T00:00:00Z",        'parsing time "2026-13-01T00:00:00Z": month out of range'],
    ["2026-11-23T24:00:00Z",        'parsing time "2026-11-23T24:00:00Z": hour out of range'],
    ["2026-11-23T21:60:00Z",        'parsing time "2026-11-23T21:60:00Z": minute out of range'],
    ["2026-11-23T21:00:60Z",        'parsing time "2026-11-23T21:00:60Z": second out of range'],
    ["",                            'parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006"'],
    ["2026-11-23 21:00:00Z",        'parsing time "2026-11-23 21:00:00Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 21:00:00Z" as "T"'],
    ["2026-11-23T21:00:00",         'parsing time "2026-11-23T21:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"'],
    ["2026-11-23T21:00:00Zx",       'parsing time "2026-11-23T21:00:00Zx": extra text: "x"'],
  ])("%j", (text, expected) => {
    expect(read(text)).toBe(expected)
  })

  test("MicroTime has six digits", () => {
    expect(read("2026-11-23T21:00:00.000123Z", "MicroTime")).toBe("2026-11-23T21:00:00.000123Z")
    expect(read("2026-11-23T21:00:00Z", "MicroTime")).toContain('cannot parse "Z" as ".000000"')
  })
})

test("integers and durations in Go's words", () => {
  expect(["0", "-5", "+7", "9223372036854775807"].map(parseInt64)).toEqual([0, -5, 7, 2 ** 63])
  expect(parseInt64("1e3")).toEqual({ error: 'strconv.ParseInt: parsing "1e3": invalid syntax' })
  expect(["1h2m3s", "-1.5s", ".5s", "0", "1us"].map(parseDuration)).toEqual([
    3_723_000, -1500, 500, 0, 0.001,
  ])
  expect(["", "-", "x", "1s x"].map(parseDuration)).toEqual([
    { error: 'time: invalid duration ""' },
    { error: 'time: invalid duration "-"' },
    { error: 'time: invalid duration "x"' },
    { error: 'time: unknown unit "s x" in duration "1s x"' },
  ])
})
