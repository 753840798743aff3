import { expect, test } from "vitest"
import type { ObjectMeta } from "../../format/object.ts"
import { anyName, coreFinalizersErrors, metaErrors } from "./meta.ts"
import { secretErrors } from "./secret.ts"

const many = Array.from({ length: 1_000 }, (_, n) => `!${n}`)
const named = Object.fromEntries(many.map((key) => [key, ""]))
const owner = { apiVersion: "", kind: "", name: "", uid: "" }
const inMeta = (meta: ObjectMeta) =>
  metaErrors({ name: "a", namespace: "b", ...meta }, { namespaced: true, nameErrors: anyName })

// biome-ignore format: a table
test.each([
  ["labels",          () => inMeta({ labels: named })],
  ["annotations",     () => inMeta({ annotations: named })],
  ["owners",          () => inMeta({ ownerReferences: many.map(() => owner) })],
  ["finalizers",      () => inMeta({ finalizers: many })],
  ["core finalizers", () => coreFinalizersErrors({ finalizers: many })],
  ["managed fields",  () => inMeta({ managedFields: many.map(() => ({})) })],
  ["keys",            () => secretErrors({ kind: "Secret", apiVersion: "v1", metadata: {}, data: named })],
])("of many wrong %s as many are named as are told", (_, errors) => {
  expect(errors()).toHaveLength(100)
})
