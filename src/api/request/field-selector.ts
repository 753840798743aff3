/** Field selectors: `metadata.name=x,type!=Opaque`, on the few fields that each kind has for them
 *  (k8s.io/apimachinery/pkg/fields). */

import type { KubeObject } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { scalarText } from "../text/go-text.ts"
import type { Resource } from "../kinds/resources.ts"
import { badRequest } from "../status.ts"

export interface FieldSelector {
  /** Whether everything matches. */
  readonly empty: boolean
  /** The only name that can match, where the selector says one. */
  readonly name: string | undefined
  matches(object: KubeObject): boolean
}

interface Term {
  readonly field: string
  readonly negated: boolean
  readonly value: string
}

type Reader = (object: KubeObject) => unknown

/** `a.b` of an object, empty where it is not there. */
const path =
  (dotted: string): Reader =>
  (object) =>
    dotted.split(".").reduce<unknown>((at, name) => (isRecord(at) ? at[name] : undefined), object)

const fields = (...names: string[]): Record<string, Reader> =>
  Object.fromEntries(names.map((name) => [name, path(name)]))

const NAME = fields("metadata.name")
const NAMESPACED = fields("metadata.name", "metadata.namespace")

const BY_KIND: Readonly<Record<string, Readonly<Record<string, Reader>>>> = {
  Secret: { ...NAMESPACED, ...fields("type") },
  Namespace: { ...NAME, ...fields("status.phase") },
  Node: { ...NAME, "spec.unschedulable": (object) => path("spec.unschedulable")(object) ?? false },
  Event: {
    ...NAMESPACED,
    ...fields(
      "involvedObject.kind",
      "involvedObject.namespace",
      "involvedObject.name",
      "involvedObject.uid",
      "involvedObject.apiVersion",
      "involvedObject.resourceVersion",
      "involvedObject.fieldPath",
      "reason",
      "reportingComponent",
      "type",
    ),
    source: (object) => path("source.component")(object) || object.reportingComponent,
  },
}

/** Throws 400, also for a field that the kind cannot be selected by. */
export function parseFieldSelector(resource: Resource, text: string): FieldSelector {
  const supported = BY_KIND[resource.kind] ?? {}
  const terms = splitTerms(text)
    .filter((term) => term !== "")
    .toSorted()
    .map((term) => parseTerm(text, term))
  for (const { field } of terms)
    if (!Object.hasOwn(supported, field)) throw badRequest(`field label not supported: ${field}`)
  const reads = terms.map((term) => ({ ...term, read: supported[term.field] ?? path(term.field) }))
  return {
    empty: terms.length === 0,
    name: terms.find(({ field, negated }) => field === "metadata.name" && !negated)?.value,
    matches: (object) =>
      reads.every(({ read, value, negated }) => (scalarText(read(object)) === value) !== negated),
  }
}

/** At commas that no backslash stands before. */
const splitTerms = (text: string): string[] => text.match(/(?:\\[\s\S]|[^,\\]|\\$)+/g) ?? []

function parseTerm(selector: string, term: string): Term {
  const [, field, operator, value] = /^(.*?)(!=|==|=)(.*)$/s.exec(term) ?? []
  if (field === undefined || value === undefined)
    throw badRequest(`invalid selector: '${selector}'; can't understand '${term}'`)
  return { field, negated: operator === "!=", value: unescapeValue(value) }
}

function unescapeValue(value: string): string {
  const unknown = /^(?:[^\\]|\\[\\,=])*?(\\(?:[^\\,=]|$))/s.exec(value)?.[1]
  const bare = /^(?:[^\\,=]|\\.)*?([,=])/s.exec(value)?.[1]
  if (bare !== undefined)
    throw badRequest(`invalid field selector: unescaped character in value: ${bare.codePointAt(0)}`)
  if (unknown !== undefined)
    throw badRequest(`invalid field selector: invalid escape sequence: ${unknown}`)
  return value.replace(/\\(.)/gs, "$1")
}
