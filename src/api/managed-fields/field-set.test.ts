import fc from "fast-check"
import { expect, test } from "vitest"
import {
  decodeFields,
  difference,
  EMPTY,
  encodeFields,
  type FieldSet,
  fieldSet,
  intersection,
  type Path,
  paths,
  printPath,
  union,
} from "./field-set.ts"

// biome-ignore format: a table
const ELEMENTS = [
  "f:a", "f:b", "f:.", 'k:{"name":"x","port":9}', 'k:{"name":"x","port":10}', 'k:{"uid":"u"}',
  "v:2", "v:10", 'v:"x"', "v:true", "i:2", "i:10",
]
const path = fc.array(fc.constantFrom(...ELEMENTS), { minLength: 1, maxLength: 3 })
const set = fc.array(path).map((all) => fieldSet(...all))
const listed = (fields: FieldSet): string[] => [...paths(fields)].map((p) => p.join(" "))
const has = (fields: FieldSet, probe: Path): boolean => listed(fields).includes(probe.join(" "))

test("elements are written in Go's order: fields, keys, values, indices; numbers by value", () => {
  const shuffled = fieldSet(...ELEMENTS.toReversed().map((element) => [element]))
  expect(Object.keys(encodeFields(shuffled))).toEqual(["f:.", "f:a", "f:b", ...ELEMENTS.slice(3)])
})

test("a path of its own within a path with children is a dot", () => {
  expect(encodeFields(fieldSet(["f:a"], ["f:a", "f:b"]))).toEqual({ "f:a": { ".": {}, "f:b": {} } })
})

test("what is written is read back as the same set", () => {
  fc.assert(
    fc.property(set, (fields) => {
      expect(decodeFields(encodeFields(fields))).toEqual(fields)
    }),
  )
})

test("union, intersection and difference are those of the paths", () => {
  fc.assert(
    fc.property(set, set, path, (a, b, one) => {
      for (const probe of [one, ...paths(a), ...paths(b)]) {
        const [inA, inB] = [has(a, probe), has(b, probe)]
        expect(has(union(a, b), probe)).toBe(inA || inB)
        expect(has(intersection(a, b), probe)).toBe(inA && inB)
        expect(has(difference(a, b), probe)).toBe(inA && !inB)
      }
      expect(union(difference(a, b), intersection(a, b))).toEqual(a)
    }),
  )
})

test("what lies in one set alone is not copied", () => {
  const [a, b] = [fieldSet(["f:a", "f:x"], ["f:b"]), fieldSet(["f:a"])]
  expect(union(a, EMPTY)).toBe(a)
  expect(union(EMPTY, a)).toBe(a)
  expect(difference(a, EMPTY)).toBe(a)
  expect(union(a, b).get("f:a")?.children).toBe(a.get("f:a")?.children)
})

test("keys are read in any order and kinds that are not known are passed over", () => {
  const read = decodeFields({ 'k:{"port":9,"name":"x"}': {}, "z:1": { "f:a": {} } })
  expect(listed(read)).toEqual(['k:{"name":"x","port":9}'])
})

test.each([
  [{ a: {} }],
  [{ "v:x": {} }],
  [{ "k:[]": {} }],
  [{ "i:x": {} }],
  [{ "f:a": 1 }],
  [null],
])("%j is not FieldsV1", (fields) => {
  expect(() => decodeFields(fields)).toThrow(SyntaxError)
})

test("paths print as in Kubernetes' messages", () => {
  expect(printPath(["f:a", 'k:{"name":"x","port":9}', 'v:"y"', "i:3"])).toBe(
    '.a[name="x",port=9][="y"][3]',
  )
})
