/** ObjectMeta, the same for every kind (k8s.io/apimachinery/pkg/api/validation/objectmeta.go). Maps are gone through
 *  in the order of their keys; Go goes through them in any. */

import type { ManagedFieldsEntry, ObjectMeta, OwnerReference } from "../../format/object.ts"
import { goQuote } from "../text/go-text.ts"
import { type FieldError, fieldError, firstErrors } from "../status.ts"
import {
  dnsLabelErrors,
  labelKeyErrors,
  labelValueErrors,
  pathSegmentErrors,
  withoutTrailingDash,
} from "./names.ts"

export const ANNOTATIONS_BYTES_MAX = 256 * 1024
const SUBRESOURCE_BYTES_MAX = 256
export const FIELD_MANAGER_BYTES_MAX = 128

/** What is wrong with a name of a kind, in words. */
export type NameErrors = (name: string) => string[]

export interface MetaRules {
  readonly namespaced: boolean
  readonly nameErrors: NameErrors
}

/** For every kind, after the kind's own rules. */
export const anyName: NameErrors = pathSegmentErrors

const invalid = (field: string, value: unknown, detail: string): FieldError =>
  fieldError("Invalid", { field, value, detail })

const each = (field: string, value: string, details: readonly string[]): FieldError[] =>
  details.map((detail) => invalid(field, value, detail))

/** A whole ObjectMeta, as it is to be stored. */
export const metaErrors = (meta: ObjectMeta, rules: MetaRules): FieldError[] => [
  ...nameFieldErrors(meta, rules.nameErrors),
  ...namespaceErrors(meta.namespace ?? "", rules),
  ...generationErrors(meta),
  ...labelsErrors(meta.labels),
  ...annotationsErrors(meta.annotations),
  ...ownersErrors(meta.ownerReferences),
  ...finalizersErrors(meta.finalizers),
  ...managedFieldsErrors(meta.managedFields),
]

function nameFieldErrors(meta: ObjectMeta, nameErrors: NameErrors): FieldError[] {
  const { name = "", generateName = "" } = meta
  const prefix = nameErrors(withoutTrailingDash(generateName))
  return [
    ...(generateName === "" ? [] : each("metadata.generateName", generateName, prefix)),
    ...(name === ""
      ? [
          fieldError("Required", {
            field: "metadata.name",
            detail: "name or generateName is required",
          }),
        ]
      : each("metadata.name", name, nameErrors(name))),
  ]
}

function namespaceErrors(namespace: string, { namespaced }: MetaRules): FieldError[] {
  const field = "metadata.namespace"
  if (!namespaced)
    return namespace === ""
      ? []
      : [fieldError("Forbidden", { field, detail: "not allowed on this type" })]
  if (namespace === "") return [fieldError("Required", { field })]
  return each(field, namespace, dnsLabelErrors(namespace))
}

const generationErrors = ({ generation = 0 }: ObjectMeta): FieldError[] =>
  generation < 0
    ? [invalid("metadata.generation", generation, "must be greater than or equal to 0")]
    : []

export const labelsErrors = (
  labels: ObjectMeta["labels"] = {},
  field = "metadata.labels",
): FieldError[] =>
  firstErrors(Object.entries(labels), ([key, value]) => [
    ...each(field, key, labelKeyErrors(key)),
    ...each(field, value, labelValueErrors(value)),
  ])

function annotationsErrors(annotations: ObjectMeta["annotations"] = {}): FieldError[] {
  const field = "metadata.annotations"
  const entries = Object.entries(annotations)
  const errors = firstErrors(entries, ([key]) =>
    each(field, key, labelKeyErrors(key.toLowerCase())),
  )
  const bytes = entries.reduce((sum, pair) => sum + Buffer.byteLength(pair.join("")), 0)
  const detail = `may not be more than ${ANNOTATIONS_BYTES_MAX} bytes`
  return bytes > ANNOTATIONS_BYTES_MAX
    ? [...errors, fieldError("TooLong", { field, detail })]
    : errors
}

function ownersErrors(owners: readonly OwnerReference[] = []): FieldError[] {
  const controllers = owners.filter(({ controller }) => controller === true)
  const [first, second] = controllers.map(({ kind, name }) => `${kind}/${name}`)
  const errors = firstErrors(owners, ownerErrors)
  if (second === undefined) return errors
  const detail =
    "Only one reference can have Controller set to true. " +
    `Found "true" in references for ${first} and ${second}`
  // Of several, one is told: each would show all owners again.
  return [...errors, invalid("metadata.ownerReferences", owners, detail)]
}

function ownerErrors(owner: OwnerReference): FieldError[] {
  const field = "metadata.ownerReferences"
  const version = owner.apiVersion.slice(owner.apiVersion.indexOf("/") + 1)
  const errors: FieldError[] = []
  if (version === "" || version.includes("/"))
    errors.push(invalid(`${field}.apiVersion`, owner.apiVersion, "version must not be empty"))
  for (const name of ["kind", "name", "uid"] as const)
    if (owner[name] === "") errors.push(invalid(`${field}.${name}`, "", "must not be empty"))
  if (owner.apiVersion === "v1" && owner.kind === "Event")
    errors.push(invalid(field, owner, "/v1, Kind=Event is disallowed from being an owner"))
  return errors
}

const STANDARD_FINALIZERS: readonly string[] = ["kubernetes", "orphan", "foregroundDeletion"]

/** A finalizer without a domain must be one of Kubernetes' own. */
export const unqualifiedFinalizerErrors = (field: string, finalizer: string): FieldError[] =>
  finalizer.includes("/") || STANDARD_FINALIZERS.includes(finalizer)
    ? []
    : [
        invalid(
          field,
          finalizer,
          "name is neither a standard finalizer name nor is it fully qualified",
        ),
      ]

function finalizersErrors(finalizers: readonly string[] = []): FieldError[] {
  const field = "metadata.finalizers"
  const both = finalizers.includes("orphan") && finalizers.includes("foregroundDeletion")
  return [
    ...firstErrors(finalizers, (finalizer) => each(field, finalizer, labelKeyErrors(finalizer))),
    ...(both
      ? [invalid(field, finalizers, "finalizer orphan and foregroundDeletion cannot be both set")]
      : []),
  ]
}

/** The rules of the core group's kinds beyond those of every kind. */
export const coreFinalizersErrors = ({ finalizers = [] }: ObjectMeta): FieldError[] =>
  firstErrors(finalizers, (finalizer, index) =>
    unqualifiedFinalizerErrors(`metadata.finalizers[${index}]`, finalizer),
  )

const managedFieldsErrors = (entries: readonly ManagedFieldsEntry[] = []): FieldError[] =>
  firstErrors(entries, (entry, index) => {
    const { operation = "", fieldsType = "", manager = "", subresource = "" } = entry
    const field = `metadata.managedFields[${index}]`
    const errors: FieldError[] = []
    if (operation !== "Apply" && operation !== "Update")
      errors.push(invalid(`${field}.operation`, operation, "must be `Apply` or `Update`"))
    if (fieldsType !== "" && fieldsType !== "FieldsV1")
      errors.push(invalid(`${field}.fieldsType`, fieldsType, "must be `FieldsV1`"))
    errors.push(...fieldManagerErrors(`${field}.manager`, manager))
    if (Buffer.byteLength(subresource) > SUBRESOURCE_BYTES_MAX) {
      const detail = `may not be more than ${SUBRESOURCE_BYTES_MAX} bytes`
      errors.push(fieldError("TooLong", { field: `${field}.subresource`, detail }))
    }
    return errors
  })

const IMMUTABLE = [
  "name",
  "namespace",
  "uid",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
] as const

export const FIELD_IMMUTABLE = "field is immutable"

/** What an update may not do to an ObjectMeta. */
export function metaUpdateErrors(meta: ObjectMeta, old: ObjectMeta): FieldError[] {
  const errors: FieldError[] = []
  if (old.deletionTimestamp) errors.push(...newFinalizersErrors(meta, old))
  if (!meta.resourceVersion)
    errors.push(invalid("metadata.resourceVersion", "", "must be specified for an update"))
  errors.push(...generationErrors(meta))
  if ((meta.generation ?? 0) < (old.generation ?? 0))
    errors.push(invalid("metadata.generation", meta.generation ?? 0, "must not be decremented"))
  for (const name of IMMUTABLE) {
    const empty = name.startsWith("deletion") ? null : ""
    const [value, before] = [meta[name] ?? empty, old[name] ?? empty]
    if (value !== before) errors.push(invalid(`metadata.${name}`, value, FIELD_IMMUTABLE))
  }
  return [
    ...errors,
    ...labelsErrors(meta.labels),
    ...annotationsErrors(meta.annotations),
    ...ownersErrors(meta.ownerReferences),
    ...managedFieldsErrors(meta.managedFields),
  ]
}

function newFinalizersErrors(meta: ObjectMeta, old: ObjectMeta): FieldError[] {
  const before = new Set(old.finalizers)
  const added = [...new Set(meta.finalizers)]
    .filter((finalizer) => !before.has(finalizer))
    .toSorted()
  if (added.length === 0) return []
  const detail =
    "no new finalizers can be added if the object is being deleted, " +
    `found new finalizers []string{${added.map(goQuote).join(", ")}}`
  return [fieldError("Forbidden", { field: "metadata.finalizers", detail })]
}

/** Each wrong character's error shows the whole name again, so one that is too long is not looked at. */
export function fieldManagerErrors(field: string, manager: string): FieldError[] {
  if (Buffer.byteLength(manager) > FIELD_MANAGER_BYTES_MAX) {
    const detail = `may not be more than ${FIELD_MANAGER_BYTES_MAX} bytes`
    return [fieldError("TooLong", { field, detail })]
  }
  const errors: FieldError[] = []
  let position = 0
  for (const rune of manager) {
    if (!/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u.test(rune)) {
      const code = (rune.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")
      const detail = `invalid character U+${code} (at position ${position})`
      errors.push(fieldError("Invalid", { field, value: manager, detail }))
    }
    position += Buffer.byteLength(rune)
  }
  return errors
}
