import fc from "fast-check"
import { expect, test } from "vitest"
import { StatusError } from "../status.ts"
import { applyJsonPatch, type Operation, PatchMisfit } from "./json-patch.ts"
import { mergePatch } from "./merge-patch.ts"
import { strategicMerge } from "./strategic.ts"

const DOCUMENT = { b: { z: 1, a: [1, 2, 3] }, a: null, "x/y~": { k: "v" }, raw: { b: 1, a: 2 } }

// biome-ignore format: a table
const APPLIES: [string, Operation[], unknown][] = [
  ["add to the end",             [{ op: "add", path: "/b/a/-", value: 4 }],            { ...DOCUMENT, b: { a: [1, 2, 3, 4], z: 1 } }],
  ["add before the end",         [{ op: "add", path: "/b/a/-1", value: 4 }],           { ...DOCUMENT, b: { a: [1, 2, 3, 4], z: 1 } }],
  ["add in between",             [{ op: "add", path: "/b/a/1", value: 4 }],            { ...DOCUMENT, b: { a: [1, 4, 2, 3], z: 1 } }],
  ["remove from the end",        [{ op: "remove", path: "/b/a/-1" }],                  { ...DOCUMENT, b: { a: [1, 2], z: 1 } }],
  ["escaped names",              [{ op: "replace", path: "/x~1y~0/k", value: "w" }],   { ...DOCUMENT, "x/y~": { k: "w" } }],
  ["replace what is not there",  [{ op: "replace", path: "/new", value: 1 }],          { ...DOCUMENT, new: 1 }],
  ["move",                       [{ op: "move", from: "/b/z", path: "/z" }],           { ...DOCUMENT, b: { a: [1, 2, 3] }, z: 1 }],
  ["copy what is not there",     [{ op: "copy", from: "/no", path: "/b/z" }],          { ...DOCUMENT, b: { a: [1, 2, 3], z: null } }],
  ["test null where nothing is", [{ op: "test", path: "/no", value: null }],           DOCUMENT],
  ["test the whole",             [{ op: "test", path: "", value: DOCUMENT }],          DOCUMENT],
  ["replace the whole",          [{ op: "replace", path: "", value: { a: 1 } }],       { a: 1 }],
  ["add without a value",        [{ op: "add", path: "/n" }],                          { ...DOCUMENT, n: null }],
  ["a name of prototypes",       [{ op: "add", path: "/__proto__", value: 1 }],        JSON.parse('{"__proto__":1}')],
]

test.each(APPLIES)("JSON patch: %s", (_, operations, expected) => {
  const patched = applyJsonPatch(DOCUMENT, operations)
  if (operations[0]?.path === "/__proto__")
    expect(Object.keys(patched as object)).toContain("__proto__")
  else expect(patched).toEqual(expected)
})

test.each<Operation>([
  { op: "remove", path: "/no" },
  { op: "remove", path: "/b/a/3" },
  { op: "remove", path: "/b/a/-4" },
  { op: "add", path: "/no/k", value: 1 },
  { op: "add", path: "", value: {} },
  { op: "add", path: "/b/a/x", value: 1 },
  { op: "add", path: "/b/z/x", value: 1 },
  { op: "replace", path: "", value: 1 },
  { op: "replace", path: "/b/a/3", value: 1 },
  { op: "test", path: "/b/z", value: 2 },
  { op: "test", path: "/no", value: 2 },
  { op: "move", from: "/no", path: "/b" },
  { op: "add", value: 1 },
  { op: "nonsense", path: "/b" },
  {},
])("JSON patch refuses %j", (operation) => {
  expect(() => applyJsonPatch(DOCUMENT, [operation])).toThrow(PatchMisfit)
})

const nesting: Operation[] = [
  { op: "add", path: "/n", value: {} },
  ...Array.from({ length: 3_000 }, (): Operation[] => [
    { op: "move", from: "/n", path: "/m" },
    { op: "add", path: "/n", value: {} },
    { op: "move", from: "/m", path: "/n/n" },
  ]).flat(),
]

test.each<[string, Operation[]]>([
  ["the result", []],
  ["a copy", [{ op: "copy", from: "/n", path: "/c" }]],
])("JSON patch refuses what moves of moves have made too deep: %s", (_, more) => {
  expect(() => applyJsonPatch(DOCUMENT, [...nesting, ...more])).toThrow(PatchMisfit)
})

test("JSON patch leaves its argument, and the order of what it does not touch", () => {
  const before = JSON.stringify(DOCUMENT)
  const patched = applyJsonPatch(DOCUMENT, [{ op: "add", path: "/b/n", value: {} }])
  expect(JSON.stringify(DOCUMENT)).toBe(before)
  expect(JSON.stringify(patched)).toBe(
    '{"a":null,"b":{"a":[1,2,3],"n":{},"z":1},"raw":{"b":1,"a":2},"x/y~":{"k":"v"}}',
  )
})

const key = fc.constantFrom("a", "b", "c", "__proto__")
const text = fc.constantFrom("1", "2")
const tree = fc.letrec((tie) => ({
  map: fc.dictionary(key, fc.oneof({ maxDepth: 3 }, text, tie("map")), { noNullPrototype: true }),
})).map
const patchOf = fc.letrec((tie) => ({
  map: fc.dictionary(key, fc.oneof({ maxDepth: 3 }, text, fc.constant(null), tie("map")), {
    noNullPrototype: true,
  }),
})).map

test("merge patch: nothing changes nothing, twice is once, RFC 7386's example", () => {
  fc.assert(
    fc.property(tree, patchOf, (target, patch) => {
      expect(mergePatch(target, {})).toEqual(target)
      const once = mergePatch(target, patch)
      expect(mergePatch(once, patch)).toEqual(once)
    }),
  )
  expect(mergePatch({ a: "b", c: { d: "e", f: "g" } }, { a: "z", c: { f: null } })).toEqual({
    a: "z",
    c: { d: "e" },
  })
})

test("strategic merge and merge patch agree on maps", () => {
  fc.assert(
    fc.property(tree, patchOf, (target, patch) => {
      expect(strategicMerge(target, patch)).toEqual(mergePatch(target, patch))
    }),
  )
})

const reference = (uid: string, more: object = {}) => ({ kind: "Secret", uid, ...more })
const withMeta = (metadata: object) => ({ kind: "Secret", metadata })

// biome-ignore format: a table
const STRATEGIC: [string, object, object, object][] = [
  ["finalizers are merged",      withMeta({ finalizers: ["a", "b"] }),          { metadata: { finalizers: ["b"] } },                                 withMeta({ finalizers: ["a", "b"] })],
  ["new ones come first",        withMeta({ finalizers: ["a"] }),               { metadata: { finalizers: ["b"] } },                                 withMeta({ finalizers: ["b", "a"] })],
  ["in the order of the patch",  withMeta({ finalizers: ["a", "b", "c"] }),     { metadata: { "$setElementOrder/finalizers": ["c", "a"], finalizers: ["a"] } }, withMeta({ finalizers: ["b", "c", "a"] })],
  ["finalizers are deleted",     withMeta({ finalizers: ["a", "b"] }),          { metadata: { "$deleteFromPrimitiveList/finalizers": ["a", "z"] } }, withMeta({ finalizers: ["b"] })],
  ["owners are merged by uid",   withMeta({ ownerReferences: [reference("1"), reference("2")] }), { metadata: { ownerReferences: [{ uid: "2", name: "n" }] } }, withMeta({ ownerReferences: [reference("1"), reference("2", { name: "n" })] })],
  ["owners are deleted",         withMeta({ ownerReferences: [reference("1"), reference("2")] }), { metadata: { ownerReferences: [{ $patch: "delete", uid: "1" }] } }, withMeta({ ownerReferences: [reference("2")] })],
  ["owners are replaced",        withMeta({ ownerReferences: [reference("1"), reference("2")] }), { metadata: { ownerReferences: [{ $patch: "replace" }, reference("3")] } }, withMeta({ ownerReferences: [reference("3")] })],
  ["a directive where nothing is", withMeta({}),                                { metadata: { ownerReferences: [{ $patch: "delete", uid: "1" }] } }, withMeta({ ownerReferences: [] })],
  ["a map is replaced",          { data: { a: "1", b: "2" } },                  { data: { $patch: "replace", c: "3" } },                             { data: { c: "3" } }],
  ["a map is emptied",           { data: { a: "1" } },                          { data: { $patch: "delete" } },                                      { data: {} }],
  ["keys are retained",          { data: { a: "1", b: "2" } },                  { data: { $retainKeys: ["b", "c"], c: "3" } },                       { data: { b: "2", c: "3" } }],
  ["other lists are replaced",   { spec: { taints: [{ key: "a" }] } },          { spec: { taints: [{ key: "b" }] } },                                { spec: { taints: [{ key: "b" }] } }],
  ["a node's conditions",        { kind: "Node", status: { conditions: [{ type: "A", status: "1" }] } }, { status: { conditions: [{ type: "A", status: "2" }] } }, { kind: "Node", status: { conditions: [{ type: "A", status: "2" }] } }],
]

test.each(STRATEGIC)("strategic merge: %s", (_, target, patch, expected) => {
  const before = JSON.stringify([target, patch])
  expect(
    strategicMerge(target as Record<string, unknown>, patch as Record<string, unknown>),
  ).toEqual(expected)
  expect(JSON.stringify([target, patch])).toBe(before)
})

// biome-ignore format: a table
test.each([
  [{ data: { $patch: "x", a: "hidden" } },                                                   500, "unknown patch type: x"],
  [{ data: { $retainKeys: ["a"], b: "1" } },                                    400, "invalid patch format of retainKeys"],
  [{ data: { $retainKeys: "a" } },                                              400, "invalid patch format of retainKeys"],
  [{ metadata: { $setElementOrder: [] } },                                      400, "invalid patch format of setElementOrder list"],
  [{ metadata: { $deleteFromPrimitiveList: [] } },                              400, "invalid patch format of primitive list"],
  [{ metadata: { finalizers: [["a"]] } },                                       422, "the server rejected our request due to an error in our request"],
  [{ metadata: { ownerReferences: [{ kind: "x" }] } },                          500, "map: map[kind:x] does not contain declared merge key: uid"],
  [{ metadata: { "$setElementOrder/finalizers": ["a"], finalizers: ["b"] } },   500, "The order in patch list:\n[b]\n doesn't match $setElementOrder list:\n[a]\n"],
])("strategic merge refuses %j", (patch, code, message) => {
  const target = { data: { a: "1" }, metadata: { finalizers: ["a"], ownerReferences: [reference("1")] } }
  try {
    strategicMerge(target, patch)
    expect.unreachable()
  } catch (error) {
    if (!(error instanceof StatusError)) throw error
    expect({ code: error.code, message: error.message }).toEqual({ code, message })
  }
})
