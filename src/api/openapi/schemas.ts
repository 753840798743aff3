/** OpenAPI schemas from the tables of format/: one fact, one home. */

import { DeleteOptions, listOf, Status } from "../../format/meta.ts"
import { type Field, type FieldType, isMessage, type Message } from "../../format/schema.ts"
import { mergeKeyOf } from "../patch/strategic.ts"
import { apiVersionOf, isStored, RESOURCES, type Resource } from "../kinds/resources.ts"
import { API_VERSION, describe, KIND } from "./descriptions.ts"

export type Schema = Readonly<Record<string, unknown>>

export interface GroupVersionKind {
  readonly group: string
  readonly kind: string
  readonly version: string
}

const GVK = "x-kubernetes-group-version-kind"

/** Values whose kind does not follow from their type's name. */
// biome-ignore format: a table
const SCALARS: Readonly<Record<string, Schema>> = {
  string:    { type: "string" },
  bool:      { type: "boolean" },
  int32:     { type: "integer", format: "int32" },
  int64:     { type: "integer", format: "int64" },
  bytes:     { type: "string", format: "byte" },
  Time:      { type: "string", format: "date-time" },
  MicroTime: { type: "string", format: "date-time" },
  Quantity:  { type: "string" },
}

/** A type that is one part of one kind (`NodeStatus`), or of all (`ObjectMeta`), as a strategic merge sees its
 *  place. */
function mergeKey(where: string): string | undefined {
  const [type = "", field = ""] = where.split(".")
  if (type === "ObjectMeta") return mergeKeyOf({ kind: "", path: `metadata.${field}` })
  const [, kind, part] = /^(Namespace|Node)(Spec|Status)$/.exec(type) ?? []
  if (kind === undefined || part === undefined) return undefined
  return mergeKeyOf({ kind, path: `${part.toLowerCase()}.${field}` })
}

/** Shown even where empty, yet not asked for. */
const OPTIONAL: readonly string[] = ["Event.reportingComponent", "Event.reportingInstance"]

const META_TYPES: readonly string[] = [
  "ObjectMeta",
  "OwnerReference",
  "ManagedFieldsEntry",
  "FieldsV1",
  "ListMeta",
  "Status",
  "StatusDetails",
  "StatusCause",
  "DeleteOptions",
  "Preconditions",
]

/** `io.k8s.api.core.v1.Secret` */
const schemaName = (type: string, group: string): string => {
  if (META_TYPES.includes(type)) return `io.k8s.apimachinery.pkg.apis.meta.v1.${type}`
  return `io.k8s.api.${group === "" ? "core" : group.split(".")[0]}.v1.${type}`
}

export const schemaRef = (type: string, group: string): Schema => ({
  $ref: `#/components/schemas/${schemaName(type, group)}`,
})

function valueSchema(type: FieldType, group: string): Schema {
  if (isMessage(type) || type.name === "FieldsV1") return schemaRef(type.name, group)
  return SCALARS[type.name] ?? { type: "string" }
}

function fieldSchema({ type, shape, where }: Field, group: string): Schema {
  const text = describe(where)
  const description = text === "" ? {} : { description: text }
  const value = valueSchema(type, group)
  if (shape === "single")
    return "$ref" in value ? { ...description, allOf: [value] } : { ...description, ...value }
  if (shape === "map") return { ...description, type: "object", additionalProperties: value }
  const key = mergeKey(where)
  return {
    ...description,
    type: "array",
    items: value,
    ...(key === undefined ? { "x-kubernetes-list-type": "atomic" } : mergeExtensions(key)),
  }
}

const mergeExtensions = (key: string): Schema => ({
  "x-kubernetes-list-type": key === "" ? "set" : "map",
  "x-kubernetes-patch-strategy": "merge",
  ...(key === ""
    ? {}
    : { "x-kubernetes-list-map-keys": [key], "x-kubernetes-patch-merge-key": key }),
})

const isRequired = ({ rule, type, shape, where }: Field): boolean =>
  rule === "always" &&
  shape === "single" &&
  ["string", "bool", "int32", "int64"].includes(type.name) &&
  !OPTIONAL.includes(where)

const TYPE_META: Readonly<Record<string, Schema>> = {
  apiVersion: { description: API_VERSION, type: "string" },
  kind: { description: KIND, type: "string" },
}

/** `kinds`: those that the type is known under; it then has kind and apiVersion. */
function messageSchema(type: Message, group: string, kinds: readonly GroupVersionKind[]): Schema {
  const text = describe(type.name)
  const required = type.fields.filter(isRequired).map(({ name }) => name)
  return {
    ...(text === "" ? {} : { description: text }),
    type: "object",
    ...(required.length > 0 ? { required } : {}),
    properties: {
      ...(kinds.length > 0 ? TYPE_META : {}),
      ...Object.fromEntries(type.fields.map((field) => [field.name, fieldSchema(field, group)])),
    },
    ...(kinds.length > 0 ? { [GVK]: kinds } : {}),
  }
}

/** `type` and all that it is made of, each once. */
function closure(type: Message, found = new Map<string, FieldType>()): Map<string, FieldType> {
  if (found.has(type.name)) return found
  found.set(type.name, type)
  for (const { type: of } of type.fields) {
    if (isMessage(of)) closure(of, found)
    else if (of.name === "FieldsV1") found.set(of.name, of)
  }
  return found
}

export const gvkOf = ({ group, kind, version }: Resource): GroupVersionKind => ({
  group,
  kind,
  version,
})

/** All that the documents of one group version refer to. */
export function componentSchemas(groupVersion: string): Readonly<Record<string, Schema>> {
  const resources = RESOURCES.filter((resource) => apiVersionOf(resource) === groupVersion)
  const group = resources[0]?.group ?? ""
  const kinds = new Map<string, GroupVersionKind[]>()
  const roots: Message[] = [Status, DeleteOptions]
  for (const type of [Status, DeleteOptions])
    kinds.set(type.name, [{ group: "", kind: type.name, version: "v1" }])
  for (const resource of resources) {
    roots.push(resource.message)
    kinds.set(resource.kind, [gvkOf(resource)])
    if (!isStored(resource)) continue
    roots.push(listOf(resource.message))
    kinds.set(resource.listKind, [{ ...gvkOf(resource), kind: resource.listKind }])
  }
  const all = new Map<string, FieldType>()
  for (const root of roots) closure(root, all)
  const entries = [...all.values()].map((type): [string, Schema] => [
    schemaName(type.name, group),
    isMessage(type)
      ? messageSchema(type, group, kinds.get(type.name) ?? [])
      : { description: describe(type.name), type: "object" },
  ])
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}
