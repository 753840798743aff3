/** From a JSON value of any shape to an object of a kind: the fields of its table in the table's order, empty ones
 *  left out as Go's omitempty does, with encoding/json's words for a value of the wrong type, and a list of what a
 *  strict reader objects to. */

import { bug } from "../../errors.ts"
import type { Field, FieldType, Message } from "../../format/schema.ts"
import { isMessage, isRecord, setOwn, sortedKeys } from "../../format/schema.ts"
import { GoJsonError, goJsonType, type ParsedJson, PROBLEMS_MAX } from "../text/go-json.ts"
import { goQuote } from "../text/go-text.ts"
import { base64Error, parseTime, TIME_LAYOUTS } from "../text/go-values.ts"

export interface TypedObject {
  readonly fields: Record<string, unknown>
  /** `unknown field "metadata.bar"`, `duplicate field "data.a"`, in the order of the document. */
  readonly problems: readonly string[]
}

/** String types that Go has a name for; messages to clients show it. */
const GO_NAMES: Readonly<Record<string, string>> = {
  "Secret.type": "v1.SecretType",
  "ObjectMeta.uid": "types.UID",
  "OwnerReference.uid": "types.UID",
  "ManagedFieldsEntry.operation": "v1.ManagedFieldsOperationType",
  "NamespaceSpec.finalizers": "v1.FinalizerName",
  "NamespaceStatus.phase": "v1.NamespacePhase",
  "Preconditions.uid": "types.UID",
  "DeleteOptions.propagationPolicy": "v1.DeletionPropagation",
}

/** What every object has beside its table. */
const TYPE_META = ["kind", "apiVersion"]

interface Place {
  /** With indices and keys: `metadata.ownerReferences[0]`. */
  readonly path: string
  /** Without them: how Go names a field in errors. */
  readonly stack: string
  /** ` struct field Secret.data`; ` value` at the top. */
  readonly where: string
}

const TOP: Place = { path: "", stack: "", where: " value" }

/** Throws {@link GoJsonError}: the first value that has not its field's type. */
export function decodeTyped(message: Message, { value, duplicates }: ParsedJson): TypedObject {
  const reader = new TypedReader(duplicates)
  return { fields: reader.message(message, value, TOP), problems: reader.problems }
}

class TypedReader {
  readonly problems: string[] = []
  readonly #duplicates: ParsedJson["duplicates"]

  constructor(duplicates: ParsedJson["duplicates"]) {
    this.#duplicates = duplicates
  }

  message(type: Message, given: unknown, place: Place): Record<string, unknown> {
    const source = given ?? {}
    if (!isRecord(source)) throw mismatch(given, goType(type), place)
    const read = new Map<string, unknown>()
    for (const name of Object.keys(source)) {
      const field = type.fields.find((candidate) => candidate.name === name)
      const below = fieldPlace(type, name, place)
      if (field !== undefined) read.set(name, this.#field(field, source[name], below))
      else if (place !== TOP || !TYPE_META.includes(name))
        this.#note(`unknown field ${goQuote(below.path)}`)
      this.#noteDuplicate(source, name, below.path)
    }
    const target: Record<string, unknown> = {}
    for (const field of type.fields) {
      const shown = show(field, read.get(field.name))
      if (shown !== undefined) target[field.name] = shown
    }
    return target
  }

  #noteDuplicate(source: object, name: string, path: string): void {
    if (this.#duplicates.get(source)?.has(name)) this.#note(`duplicate field ${goQuote(path)}`)
  }

  #note(problem: string): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push(problem)
  }

  #field({ type, shape, where }: Field, given: unknown, place: Place): unknown {
    const goName = GO_NAMES[where] ?? goType(type)
    const value = (element: unknown, below: string) =>
      this.#value(type, element, { ...place, path: place.path + below }, goName)
    if (given === null) return undefined
    if (shape === "single") return value(given, "")
    if (shape === "list") {
      if (!Array.isArray(given)) throw mismatch(given, `[]${goName}`, place)
      return given.map((element, index) => value(element, `[${index}]`))
    }
    if (!isRecord(given)) throw mismatch(given, `map[string]${goName}`, place)
    const read = new Map<string, unknown>()
    for (const key of Object.keys(given)) {
      read.set(key, value(given[key], `.${key}`))
      this.#noteDuplicate(given, key, `${place.path}.${key}`)
    }
    const target: Record<string, unknown> = {}
    for (const key of sortedKeys(given)) setOwn(target, key, read.get(key))
    return target
  }

  #value(type: FieldType, given: unknown, place: Place, goName: string): unknown {
    if (isMessage(type)) return this.message(type, given, place)
    const reader = SCALARS[type.name] ?? bug(`no JSON reader for ${type.name}`)
    return reader(given, (seen) => mismatch(given, goName, place, seen))
  }
}

function fieldPlace(owner: Message, name: string, place: Place): Place {
  const dot = place === TOP ? "" : "."
  const stack = `${place.stack}${dot}${name}`
  const where = ` struct field ${owner.name}.${stack}`
  return { path: `${place.path}${dot}${name}`, stack, where }
}

const mismatch = (given: unknown, goName: string, { where }: Place, seen?: string): GoJsonError =>
  new GoJsonError(
    `json: cannot unmarshal ${seen ?? goJsonType(given)} into Go${where} of type ${goName}`,
  )

const goType = (type: FieldType): string =>
  type.name === "bytes" ? "[]uint8" : isMessage(type) ? `v1.${type.name}` : type.name

/** What an object shows of a field, undefined for nothing. */
function show(field: Field, value: unknown): unknown {
  const { rule, shape, type } = field
  if (shape !== "single") {
    const isEmpty = value === undefined || Object.keys(value as object).length === 0
    if (!isEmpty) return value
    return rule === "always" ? (shape === "list" ? [] : {}) : undefined
  }
  if (value === undefined)
    return rule !== "always" ? undefined : isMessage(type) ? emptyOf(type) : (type.zero() ?? null)
  const isZero = value === "" || value === 0 || value === false || value === null
  return rule === "wire" && isZero ? undefined : value
}

const emptyOf = (type: Message): Record<string, unknown> =>
  decodeTyped(type, { value: {}, duplicates: new Map() }).fields

type ScalarReader = (value: unknown, mismatch: (seen?: string) => GoJsonError) => unknown

const integer =
  ({ bits }: { bits: 32 | 64 }): ScalarReader =>
  (value, mismatch) => {
    if (value === null) return 0
    if (typeof value !== "number") throw mismatch()
    const fits = Number.isSafeInteger(value) && (bits === 64 || value === (value | 0))
    if (!fits) throw mismatch(`number ${value}`)
    return value
  }

const instant =
  (layout: keyof typeof TIME_LAYOUTS): ScalarReader =>
  (value) => {
    if (value === null) return null
    if (typeof value === "string") return parseTime(layout, value)
    throw new GoJsonError(
      `json: cannot unmarshal ${goJsonType(value)} into Go value of type string`,
    )
  }

const SCALARS: Readonly<Record<string, ScalarReader>> = {
  string(value, mismatch) {
    if (value === null) return ""
    if (typeof value !== "string") throw mismatch()
    return value
  },
  bool(value, mismatch) {
    if (value === null) return false
    if (typeof value !== "boolean") throw mismatch()
    return value
  },
  int64: integer({ bits: 64 }),
  int32: integer({ bits: 32 }),
  bytes(value, mismatch) {
    if (value === null) return ""
    if (typeof value !== "string") throw mismatch()
    const canonical = Buffer.from(value, "base64").toString("base64")
    if (canonical === value) return value
    const error = base64Error(value)
    if (error !== undefined) throw new GoJsonError(error)
    return canonical
  },
  Time: instant("Time"),
  MicroTime: instant("MicroTime"),
  Quantity(value, mismatch) {
    if (value === null) return "0"
    if (typeof value !== "string" && typeof value !== "number") throw mismatch()
    if (/^[-+]?[0-9.]+([eEinumkKMGTP]*[-+]?[0-9]*)$/.test(String(value))) return String(value)
    throw new GoJsonError(
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    )
  },
  FieldsV1: (value) => value,
}
