/** What a Namespace, a Node and an Event may be, as far as keyturn is asked to know them. */

import type { KubeObject } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { scalarText } from "../text/go-text.ts"
import { type FieldError, fieldError } from "../status.ts"
import { labelsErrors, unqualifiedFinalizerErrors } from "./meta.ts"
import { dnsSubdomainErrors, labelKeyErrors } from "./names.ts"

const invalid = (field: string, value: unknown, detail: string): FieldError =>
  fieldError("Invalid", { field, value, detail })

const part = (object: KubeObject, name: string): Record<string, unknown> => {
  const value = object[name]
  return isRecord(value) ? value : {}
}

const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((element) => typeof element === "string") : []

export const namespaceErrors = (object: KubeObject): FieldError[] =>
  texts(part(object, "spec").finalizers).flatMap((finalizer) => [
    ...labelKeyErrors(finalizer).map((detail) => invalid("spec.finalizers", finalizer, detail)),
    ...unqualifiedFinalizerErrors("spec.finalizers", finalizer),
  ])

/** For the status subresource: the phase follows from the deletion. */
export function namespaceStatusErrors(object: KubeObject): FieldError[] {
  const { phase } = part(object, "status")
  const deleting = object.metadata.deletionTimestamp !== undefined
  const expected = deleting ? "Terminating" : "Active"
  if (phase === expected) return []
  const detail = `may only be '${expected}' if \`deletionTimestamp\` is ${deleting ? "not " : ""}empty`
  return [invalid("status.Phase", phase ?? "", detail)]
}

const TAINT_EFFECTS = ["NoSchedule", "PreferNoSchedule", "NoExecute"] as const

export function nodeErrors(object: KubeObject): FieldError[] {
  const { taints } = part(object, "spec")
  const seen = new Set<string>()
  return (Array.isArray(taints) ? taints.filter(isRecord) : []).flatMap((taint, index) => {
    const field = `spec.taints[${index}]`
    const [key, value, effect] = [taint.key, taint.value, taint.effect].map(scalarText)
    const errors = [
      ...labelKeyErrors(key ?? "").map((detail) => invalid(`${field}.key`, key, detail)),
      ...labelsErrors({ x: value ?? "" }, `${field}.value`),
      ...effectErrors(`${field}.effect`, effect ?? ""),
    ]
    const id = `${key}:${effect}`
    if (seen.has(id)) errors.push(fieldError("Duplicate", { field, value: taint }))
    seen.add(id)
    return errors
  })
}

function effectErrors(field: string, effect: string): FieldError[] {
  if (effect === "") return [fieldError("Required", { field })]
  if (TAINT_EFFECTS.some((known) => known === effect)) return []
  return [fieldError("NotSupported", { field, value: effect, supported: TAINT_EFFECTS.toSorted() })]
}

export function nodeUpdateErrors(object: KubeObject, old: KubeObject): FieldError[] {
  const [spec, before] = [part(object, "spec"), part(old, "spec")]
  if (!before.providerID || spec.providerID === before.providerID) return []
  const detail = 'node updates may not change providerID except from "" to valid'
  return [fieldError("Forbidden", { field: "spec.providerID", detail })]
}

const EVENT_FIELD_LENGTH_MAX = 128
const EVENT_MESSAGE_LENGTH_MAX = 1024

/** Events of the older form, those without eventTime, are bound to their object's namespace only. */
export function eventErrors(object: KubeObject): FieldError[] {
  const namespace = object.metadata.namespace ?? ""
  const about = scalarText(part(object, "involvedObject").namespace)
  const fits = about === "" ? namespace === "default" || namespace === "" : about === namespace
  const errors = fits
    ? []
    : [invalid("involvedObject.namespace", about, "does not match event.namespace")]
  return object.eventTime ? [...errors, ...newEventErrors(object)] : errors
}

function newEventErrors(object: KubeObject): FieldError[] {
  const text = (field: string) => scalarText(object[field])
  const atMost = (field: string, max: number) =>
    text(field).length > max ? [invalid(field, "", `can have at most ${max} characters`)] : []
  const needed = (field: string) =>
    text(field) === "" ? [fieldError("Required", { field })] : atMost(field, EVENT_FIELD_LENGTH_MAX)
  const reporter = text("reportingComponent")
  return [
    ...(reporter === "" ? [fieldError("Required", { field: "reportingComponent" })] : []),
    ...labelKeyErrors(reporter).map((detail) => invalid("reportingComponent", reporter, detail)),
    ...needed("reportingInstance"),
    ...needed("action"),
    ...needed("reason"),
    ...atMost("message", EVENT_MESSAGE_LENGTH_MAX),
    ...dnsSubdomainErrors(object.metadata.namespace ?? "").map((detail) =>
      invalid("namespace", object.metadata.namespace, detail),
    ),
  ]
}
