/** Decodes YAML or JSON text strictly, as Kubernetes does: an unknown field, a field that comes twice or a value of
 *  another type is a mistake. All mistakes are collected, in the words of sigs.k8s.io/yaml and sigs.k8s.io/json; they
 *  name fields and never show other content of the file. */

import { parseDocument } from "yaml"
import { isRecord } from "../format/schema.ts"

export interface Mistakes {
  /** Kubernetes reports these together. */
  readonly strict: string[]
  /** At the first of these Kubernetes stops. */
  readonly fatal: string[]
}

/** Where a value stands. */
export interface Place {
  /** `resources[0].providers[1]` */
  readonly path: string
  /** `resources.providers`: Go's path, which has no indexes. */
  readonly goPath: string
  /** The name of the struct that the field is in. */
  readonly owner: string
  readonly mistakes: Mistakes
}

/** What a field may hold. An absent field and null mean `zero`. */
export interface Shape<T> {
  /** Go's name of the type. */
  readonly go: string
  zero(): T
  read(value: unknown, at: Place): T
}

export type Held<S> = S extends Shape<infer T> ? T : never

const primitive = <T>(go: string, zero: T, fits: (value: unknown) => value is T): Shape<T> => ({
  go,
  zero: () => zero,
  read: (value, at) => (fits(value) ? value : mismatch(value, at, go, zero)),
})

export const text = primitive("string", "", (value) => typeof value === "string")
export const int32 = primitive("int32", 0, isInt32)

function isInt32(value: unknown): value is number {
  return typeof value === "number" && (value | 0) === value
}

/** A field that tells absent from empty. */
export const optional = <T>(shape: Shape<T>): Shape<T | null> => ({ ...shape, zero: () => null })

export function listOf<T>(item: Shape<T>): Shape<readonly T[]> {
  const go = `[]${item.go}`
  return {
    go,
    zero: () => [],
    read(value, at) {
      if (!Array.isArray(value)) return mismatch(value, at, go, [])
      return value.map((each, index) => readOr(item, each, { ...at, path: `${at.path}[${index}]` }))
    },
  }
}

export function struct<T extends object>(
  name: string,
  fields: { readonly [Name in keyof T]: Shape<T[Name]> },
): Shape<T> {
  const go = `v1.${name}`
  const shapes = Object.entries<Shape<unknown>>(fields)
  const known = new Set(shapes.map(([field]) => field))
  const zero = () => Object.fromEntries(shapes.map(([field, shape]) => [field, shape.zero()])) as T
  return {
    go,
    zero,
    read(value, at) {
      if (!isRecord(value)) return mismatch(value, at, go, zero())
      for (const field of Object.keys(value))
        if (!known.has(field))
          at.mistakes.strict.push(`unknown field ${JSON.stringify(joined(at.path, field))}`)
      const read = ([field, shape]: [string, Shape<unknown>]) => {
        const path = joined(at.path, field)
        const goPath = joined(at.goPath, field)
        return [field, readOr(shape, value[field], { ...at, path, goPath, owner: name })]
      }
      return Object.fromEntries(shapes.map(read)) as T
    },
  }
}

const joined = (path: string, field: string): string => (path === "" ? field : `${path}.${field}`)

const readOr = <T>(shape: Shape<T>, value: unknown, at: Place): T =>
  value === undefined || value === null ? shape.zero() : shape.read(value, at)

function mismatch<T>(value: unknown, at: Place, expected: string, zero: T): T {
  const seen = Array.isArray(value) ? "array" : typeof value === "boolean" ? "bool" : typeof value
  const field = `${at.owner}.${at.goPath}`
  at.mistakes.fatal.push(
    `json: cannot unmarshal ${seen} into Go struct field ${field} of type ${expected}`,
  )
  return zero
}

/** The tree of plain values; undefined where the text is not YAML. JSON is YAML. The dialect is Go's: YAML 1.1, without
 *  dates, and tags that nobody knows are passed over. */
export function parseTree(source: string, mistakes: Mistakes): unknown {
  try {
    const document = parseDocument(source, {
      version: "1.1",
      prettyErrors: false,
      customTags: (tags) => tags.filter((tag) => !isTimestamp(tag)),
    })
    for (const { code, pos } of document.errors) {
      const line = source.slice(0, pos[0]).split("\n").length
      if (code === "DUPLICATE_KEY") mistakes.strict.push(duplicate(source.slice(pos[0]), line))
      else if (code !== "TAG_RESOLVE_FAILED") {
        mistakes.fatal.push(`yaml: line ${line}: ${code.toLowerCase().replaceAll("_", " ")}`)
        return undefined
      }
    }
    return document.toJS()
  } catch {
    mistakes.fatal.push("yaml: an alias cannot be resolved")
    return undefined
  }
}

function duplicate(from: string, line: number): string {
  const [, key = ""] = /^["']?([\w.-]*)/.exec(from) ?? []
  return `yaml: unmarshal errors:\n  line ${line}: key "${key}" already set in map`
}

const isTimestamp = (tag: unknown): boolean =>
  tag === "timestamp" || (isRecord(tag) && tag.tag === "tag:yaml.org,2002:timestamp")
