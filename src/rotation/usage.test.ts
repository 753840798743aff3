import { expect, test } from "vitest"
import { decodeUsage, encodeUsage, larger, type Usage, withSeals } from "./usage.ts"

const usage: Usage = new Map([
  ["a:b", { clients: 1000, rewriting: 0 }],
  ["__proto__", { clients: 0, rewriting: 9 }],
])

test("what is written is read, whatever a key is called", () => {
  expect(decodeUsage(encodeUsage(usage, "id"))).toEqual(usage)
  expect(encodeUsage(usage, "one")).not.toEqual(encodeUsage(usage, "other"))
})

test.each([
  ["", []],
  ["{", []],
  ["null", []],
  ['{"keys":5}', []],
  [
    '{"keys":[{"name":"k","clients":-1,"rewriting":0},{"name":"j","clients":2,"rewriting":0}]}',
    ["j"],
  ],
] as const)("of the damaged record %s the rest counts", (text, names) => {
  expect([...decodeUsage(Buffer.from(text)).keys()]).toEqual(names)
})

test("seals are added to their key alone, and of two counts the larger holds", () => {
  const more = withSeals(usage, "new", { rewriting: 5 })
  expect(more.get("new")).toEqual({ clients: 0, rewriting: 5 })
  expect(more.get("a:b")).toEqual({ clients: 1000, rewriting: 0 })
  const older: Usage = new Map([["new", { clients: 7, rewriting: 1 }]])
  expect(larger(more, older)).toEqual(new Map([...more, ["new", { clients: 7, rewriting: 5 }]]))
})
