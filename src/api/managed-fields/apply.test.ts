import { readFileSync } from "node:fs"
import fc from "fast-check"
import { expect, test } from "vitest"
import { sharedPath } from "../../../tests/shared.ts"
import { Secret } from "../../format/core.ts"
import type { KubeObject } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { decodeTyped } from "../request/decode.ts"
import { applyDefaults } from "../kinds/defaults.ts"
import { StatusError } from "../status.ts"
import { applyPatch } from "./apply.ts"
import { decodeFields, EMPTY, type FieldSet, paths, union } from "./field-set.ts"
import { ownable, withoutManagedFields } from "./ownership.ts"
import { schemaOf } from "./schema.ts"
import { trackCreate, trackUpdate } from "./track.ts"
import { fieldsOf } from "./typed.ts"

const target = { apiVersion: "v1", kind: "Secret", name: "a", namespace: "n" }
const at = (second: number) => new Date(Date.UTC(2026, 10, 23, 21, 0, second))

function decode(value: unknown): KubeObject {
  const { fields } = decodeTyped(Secret, { value, duplicates: new Map() })
  return applyDefaults({ kind: "Secret", apiVersion: "v1", ...fields } as unknown as KubeObject)
}

const config = (fields: object): Record<string, unknown> => {
  const { metadata = {}, ...rest } = fields as { metadata?: object }
  return { apiVersion: "v1", kind: "Secret", metadata: { name: "a", ...metadata }, ...rest }
}

interface Options {
  manager?: string
  force?: boolean
  second?: number
}

const apply = (
  live: KubeObject | undefined,
  fields: object,
  { manager = "m", force = false, second = 0 }: Options = {},
) => applyPatch({ live, applied: config(fields), target, manager, force, now: at(second), decode })

const applied = (...args: Parameters<typeof apply>): KubeObject => {
  const object = apply(...args)
  return { ...object, metadata: { ...object.metadata, uid: "u" } }
}

function failure(run: () => unknown): { code: number; message: string } {
  try {
    run()
  } catch (error) {
    if (error instanceof StatusError) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error("it did not fail")
}

const managers = (object: KubeObject) =>
  Object.fromEntries(
    (object.metadata.managedFields ?? []).map(({ manager, fieldsV1 }) => [manager, fieldsV1]),
  )

test("an apply, then an update: what kube-apiserver stored", () => {
  const { secrets } = JSON.parse(readFileSync(sharedPath("vectors", "secrets.json"), "utf8"))
  const vector = secrets.find(({ case: name }: { case: string }) =>
    name.includes("server-side-apply"),
  )
  const stored: KubeObject = JSON.parse(vector.getJson)
  const now = new Date(stored.metadata.managedFields?.[0]?.time ?? "")
  const object = applyPatch({
    live: undefined,
    applied: config({ metadata: { labels: { a: "b" } }, data: { k1: "djE=", k2: "djI=" } }),
    target,
    manager: "applier",
    force: false,
    now,
    decode,
  })
  const next = {
    ...object,
    metadata: { ...object.metadata, annotations: { x: "y" } },
    data: { ...(object["data"] as object), k3: "djM=" },
  }
  const { metadata } = trackUpdate({ live: object, next, manager: "merger", now })
  expect(JSON.stringify(metadata.managedFields)).toBe(JSON.stringify(stored.metadata.managedFields))
})

test("what nobody applies any longer goes, what another applies stays", () => {
  const first = applied(undefined, { data: { a: "YQ==", b: "Yg==", c: "Yw==" } })
  const both = applied(first, { data: { b: "Yg==" } }, { manager: "other" })
  const left = applied(both, { data: { c: "Yw==" } })
  expect(left["data"]).toEqual({ b: "Yg==", c: "Yw==" })
  expect(managers(left)).toEqual({
    m: { "f:data": { "f:c": {} } },
    other: { "f:data": { "f:b": {} } },
  })
})

test("what a client updated belongs to the update and outlives the apply", () => {
  const first = applied(undefined, { data: { a: "YQ==" } })
  const next = { ...first, data: { a: "Yg==", b: "Yg==" } }
  const edited = trackUpdate({ live: first, next, manager: "edit", now: at(1) })
  expect(managers(edited)).toEqual({ edit: { "f:data": { "f:a": {}, "f:b": {} } } })
  expect(applied(edited, { metadata: { labels: { l: "1" } } })["data"]).toEqual(next.data)
  expect(failure(() => apply(edited, { data: { a: "YQ==" } }))).toEqual({
    code: 409,
    message: 'Apply failed with 1 conflict: conflict with "edit" using v1: .data.a',
  })
  const forced = applied(edited, { data: { a: "YQ==" } }, { force: true })
  expect(managers(forced)).toEqual({
    m: { "f:data": { "f:a": {} } },
    edit: { "f:data": { "f:b": {} } },
  })
})

test("conflicts with several managers, in lists too", () => {
  const owner = { apiVersion: "v1", kind: "Secret", name: "o", uid: "u1" }
  const first = applied(undefined, { metadata: { ownerReferences: [owner] } }, { manager: "x" })
  const second = applied(first, { data: { a: "YQ==" } }, { manager: "b" })
  const wanted = {
    metadata: { ownerReferences: [{ ...owner, name: "p" }] },
    data: { a: "Yg==" },
  }
  expect(failure(() => apply(second, wanted)).message).toBe(
    'Apply failed with 2 conflicts: conflicts with "b":\n- .data.a\n' +
      'conflicts with "x":\n- .metadata.ownerReferences[uid="u1"]',
  )
})

test("finalizers are a set: each applier's come and go alone", () => {
  const first = applied(undefined, { metadata: { finalizers: ["e.com/a"] } })
  const both = applied(first, { metadata: { finalizers: ["e.com/b"] } }, { manager: "other" })
  expect(both.metadata.finalizers).toEqual(["e.com/a", "e.com/b"])
  expect(applied(both, {}).metadata.finalizers).toEqual(["e.com/b"])
  expect(managers(both)["m"]).toEqual({ "f:metadata": { "f:finalizers": { 'v:"e.com/a"': {} } } })
})

test("the first apply to an untracked object leaves its fields to before-first-apply", () => {
  const metadata = withoutManagedFields(applied(undefined, { data: { a: "YQ==" } }).metadata)
  const untracked: KubeObject = { ...decode(config({ data: { a: "YQ==" } })), metadata }
  const tracked = applied(untracked, { data: { b: "Yg==" } })
  expect(managers(tracked)).toEqual({
    m: { "f:data": { "f:b": {} } },
    "before-first-apply": { "f:data": { ".": {}, "f:a": {} }, "f:type": {} },
  })
})

test("kubectl takes over what its client-side apply set and nobody changed since", () => {
  const annotation = "kubectl.kubernetes.io/last-applied-configuration"
  const last = JSON.stringify(config({ data: { a: "YQ==", b: "Yg==" } }))
  const live = trackCreate({
    next: decode(
      config({
        metadata: { uid: "u", annotations: { [annotation]: last } },
        data: { a: "YQ==", b: "Yg==" },
      }),
    ),
    manager: "kubectl-client-side-apply",
    now: at(0),
  })
  const wanted = { data: { a: "eA==", b: "eA==" } }
  const taken = applied(live, wanted, { manager: "kubectl" })
  expect(taken["data"]).toEqual(wanted.data)
  expect(taken.metadata.annotations?.[annotation]).toBe(
    `${JSON.stringify(sorted(config(wanted)))}\n`,
  )
  const edited = trackUpdate({
    live,
    next: { ...live, data: { a: "YQ==", b: "eg==" } },
    manager: "edit",
    now: at(1),
  })
  expect(failure(() => apply(edited, wanted, { manager: "kubectl" })).message).toBe(
    'Apply failed with 1 conflict: conflict with "edit" using v1: .data.b',
  )
  expect(failure(() => apply(live, wanted)).code).toBe(409)
})

test("kubectl's annotation is left out where it would be too big", () => {
  const annotation = "kubectl.kubernetes.io/last-applied-configuration"
  const live = decode(config({ metadata: { uid: "u", annotations: { [annotation]: "{}" } } }))
  const big = { data: { a: Buffer.alloc(200_000).toString("base64") } }
  const annotated = applied(live, { data: { a: "YQ==" } }, { manager: "kubectl" })
  expect(annotated.metadata.annotations).toHaveProperty([annotation])
  expect(applied(live, big, { manager: "kubectl" }).metadata.annotations).toEqual({})
})

const sorted = (value: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))

// biome-ignore format: a table
test.each([
  [{ kind: "ConfigMap" }, 400, "invalid object type: /v1, Kind=ConfigMap"],
  [{ metadata: { managedFields: [] } }, 400, "metadata.managedFields must be nil"],
  [{ foo: 1 }, 500, "failed to create typed patch object (n/a; /v1, Kind=Secret): .foo: field not declared in schema"],
  [{ data: { a: 1 } }, 500, "failed to create typed patch object (n/a; /v1, Kind=Secret): .data.a: expected string, got number"],
  [{ data: "x" }, 500, "failed to create typed patch object (n/a; /v1, Kind=Secret): .data: expected map, got string"],
  [{ metadata: { finalizers: ["a", "a"] } }, 500, 'failed to create typed patch object (n/a; /v1, Kind=Secret): .metadata.finalizers: duplicate entries for key [="a"]'],
  [{ metadata: { ownerReferences: [{ kind: "x" }] } }, 500, 'failed to create typed patch object (n/a; /v1, Kind=Secret): .metadata.ownerReferences: element 0: associative list with keys has an element that omits all key fields ["uid"] (and doesn\'t have default values for any key fields)'],
])("an apply of %j is refused", (fields, code, message) => {
  expect(failure(() => apply(undefined, fields))).toEqual({ code, message })
})

const name = fc.constantFrom("a", "b", "c", "__proto__", "d.e")
/** Never empty: an empty map is owned but not stored, so that each apply of it is a change that other owners lose by. */
const map = fc.dictionary(name, fc.constantFrom("YQ==", "Yg=="), {
  minKeys: 1,
  noNullPrototype: true,
})
/** Never a key of data too: Kubernetes tracks the two fields apart, so that the loser of both would change with each apply. */
const strings = fc.dictionary(fc.constantFrom("s", "t"), fc.constantFrom("1", "2"), { minKeys: 1 })
const configuration = fc.record(
  {
    metadata: fc.record(
      {
        labels: map,
        annotations: map,
        finalizers: fc.uniqueArray(fc.constantFrom("x.y/1", "x.y/2", "x.y/3"), { minLength: 1 }),
      },
      { requiredKeys: [] },
    ),
    data: map,
    stringData: strings,
  },
  { requiredKeys: [] },
)
const step = fc.record({ manager: fc.constantFrom("m1", "m2", "m3"), fields: configuration })

const run = (steps: { manager: string; fields: object }[]): KubeObject | undefined =>
  steps.reduce<KubeObject | undefined>(
    (live, { manager, fields }, second) => applied(live, fields, { manager, second, force: true }),
    undefined,
  )

test("applying the same again changes nothing, whenever that is", () => {
  fc.assert(
    fc.property(fc.array(step), step, (before, last) => {
      const live = run([...before, last])
      // Who owns nothing is not tracked, and the next apply begins with before-first-apply.
      fc.pre(live?.metadata.managedFields !== undefined)
      const again = apply(live, last.fields, { manager: last.manager, second: 59 })
      expect(again).toStrictEqual(live)
    }),
  )
})

test("what appliers alone have made is owned, every leaf of it", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1 }), (steps) => {
      const object = run(steps)
      if (object === undefined) throw new Error("no object")
      const owned = (object.metadata.managedFields ?? [])
        .map(({ fieldsV1 }) => decodeFields(fieldsV1))
        .reduce<FieldSet>(union, EMPTY)
      const { labels = {}, annotations = {}, finalizers = [] } = object.metadata
      const leaves = [
        ...Object.keys(labels).map((key) => ["f:metadata", "f:labels", `f:${key}`]),
        ...Object.keys(annotations).map((key) => ["f:metadata", "f:annotations", `f:${key}`]),
        ...finalizers.map((text) => ["f:metadata", "f:finalizers", `v:"${text}"`]),
      ]
      expect([...paths(owned)]).toEqual(expect.arrayContaining(leaves))
    }),
  )
})

test("the last applier has what it applied", () => {
  fc.assert(
    fc.property(fc.array(step), step, (before, last) => {
      const object = run([...before, last])
      const data = isRecord(object?.["data"]) ? object["data"] : {}
      for (const entry of Object.entries(last.fields.data ?? {}))
        expect(Object.entries(data)).toContainEqual(entry)
      const entry = object?.metadata.managedFields?.find(({ manager }) => manager === last.manager)
      const mine = decodeFields(entry?.fieldsV1 ?? {})
      const applies = ownable(fieldsOf(schemaOf(target).type, last.fields))
      expect(union(mine, applies)).toEqual(mine)
    }),
  )
})
