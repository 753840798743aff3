import { expect, test } from "vitest"
import { failureOf, messageOf } from "../../../tests/outcome.ts"
import { textOf, transcript, transcripts } from "../../../tests/transcripts.ts"
import { parseLabelSelector } from "./label-selector.ts"

const selectorOf = (url: string) => new URL(url, "http://x").searchParams.get("labelSelector") ?? ""

test.each(["284", "285"])("transcript %s to the letter", (number) => {
  const { url = "", respBody = "" } = transcript(number).http[0] ?? {}
  expect(failureOf(() => parseLabelSelector(selectorOf(url)))).toBe(respBody)
})

test("every recorded selector matches what it was answered with", () => {
  let matched = 0
  for (const { http } of transcripts())
    for (const { method, url, status, respBody } of http) {
      if (!selectorOf(url) || status !== 200 || method !== "GET" || url.includes("watch")) continue
      const selector = parseLabelSelector(selectorOf(url))
      const { items, rows } = JSON.parse(textOf(respBody))
      for (const { metadata, object } of items ?? rows) {
        expect(selector.matches((metadata ?? object.metadata).labels), url).toBe(true)
        matched++
      }
    }
  expect(matched).toBeGreaterThan(10)
})

const LABELS = { app: "web", tier: "db", empty: "", n: "10", in: "x" }

// biome-ignore format: a table
test.each([
  ["", true],                        ["app", true],               ["!app", false],
  ["missing", false],                ["!missing", true],          ["app=web", true],
  ["app==web", true],                ["app = db", false],         ["app!=db", true],
  ["missing!=x", true],              ["app in (web,db)", true],   ["app in (db)", false],
  ["app notin (db)", true],          ["missing notin (x)", true], ["app notin (web)", false],
  ["empty=", true],                  ["empty in (,a)", true],     ["empty in ()", true],
  ["n>9", true],                     ["n>10", false],             ["n<11", true],
  ["app>1", false],                  ["app=web,tier=db", true],   ["app=web,tier=x", false],
  ["in", true],                      ["in in (in,x)", true],      ["app,tier , n", true],
  ["app=web,", "found '', expected: identifier after ','"],
  ["constructor", false],
])("%j on the labels: %j", (text, expected) => {
  if (typeof expected === "string") expect(messageOf(() => parseLabelSelector(text))).toBe(expected)
  else expect(parseLabelSelector(text).matches(LABELS)).toBe(expected)
})

// biome-ignore format: a table
test.each([
  [",",              "found ',', expected: !, identifier, or 'end of string'"],
  ["a b",            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"],
  ["!",              "unable to parse requirement: found '', expected: identifier"],
  ["a=b=c",          "found '=', expected: ',' or 'end of string'"],
  ["a=(",            "unable to parse requirement: found '(', expected: identifier"],
  ["a in (b",        "unable to parse requirement: found '', expected: ',' or ')'"],
  ["a in (=)",       "unable to parse requirement: found '=', expected: ',', ')' or identifier"],
  ["a in (b,=)",     "unable to parse requirement: found '=', expected: ',', or identifier"],
  ["a>x",            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"],
])("%j is refused", (text, message) => {
  expect(messageOf(() => parseLabelSelector(text))).toBe(message)
})

test("keys and values keep the rules of labels", () => {
  expect(messageOf(() => parseLabelSelector("-a=b"))).toMatch(
    /^unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of/,
  )
  expect(messageOf(() => parseLabelSelector("a=-b"))).toMatch(
    /^unable to parse requirement: values\[0\]\[a\]: Invalid value: "-b": a valid label must be/,
  )
})

test("nothing selects everything, labels or none", () => {
  expect(parseLabelSelector("").empty).toBe(true)
  expect(parseLabelSelector("a").empty).toBe(false)
  expect(parseLabelSelector("!a").matches(undefined)).toBe(true)
})
