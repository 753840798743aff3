/** Whether a configuration fits the schema of its kind; the words are those of Kubernetes' structured merge. */

import { isRecord } from "../../format/schema.ts"
import { goQuote } from "../text/go-text.ts"
import { fieldElement, type Path, printPath } from "./field-set.ts"
import type { ListType, MapType, Type } from "./schema.ts"
import { declared, elementOf } from "./typed.ts"

/** One message for all that does not fit; undefined where everything does. Prints no value, which may be secret; keys only. */
export function schemaError(type: Type, value: unknown): string | undefined {
  const errors = [...check(type, value, [])].map(({ path, message }) =>
    path.length === 0 ? message : `${printPath(path)}: ${message}`,
  )
  if (errors.length === 0) return undefined
  return errors.length === 1 ? errors[0] : ["errors:", ...errors.map((e) => `  ${e}`)].join("\n")
}

interface Misfit {
  readonly path: Path
  readonly message: string
}

function* check(type: Type, value: unknown, path: Path): Generator<Misfit> {
  if (value === null || type.is === "any") return
  if (type.is === "map") {
    if (isRecord(value)) yield* checkMap(type, value, path)
    else yield { path, message: `expected map, got ${typeName(value)}` }
  } else if (type.is === "list") {
    if (Array.isArray(value)) yield* checkList(type, value, path)
    else yield { path, message: `expected list, got ${typeName(value)}` }
  } else if (typeof value !== type.of) {
    yield { path, message: `expected ${SCALARS[type.of]}, got ${typeName(value)}` }
  }
}

function* checkMap(type: MapType, map: Record<string, unknown>, path: Path): Generator<Misfit> {
  for (const [key, item] of Object.entries(map)) {
    const below = [...path, fieldElement(key)]
    const itemType = declared(type, key) ?? type.item
    if (itemType === undefined) yield { path: below, message: "field not declared in schema" }
    else yield* check(itemType, item, below)
  }
}

function* checkList(type: ListType, items: readonly unknown[], path: Path): Generator<Misfit> {
  const seen = new Set<string>()
  for (const [index, item] of items.entries()) {
    const misfit = itemMisfit(type, item)
    if (misfit !== undefined) {
      yield { path, message: `element ${index}: ${misfit}` }
      return
    }
    const element = type.by === "atomic" ? `i:${index}` : elementOf(type, item)
    if (seen.has(element))
      yield { path, message: `duplicate entries for key ${printPath([element])}` }
    seen.add(element)
    yield* check(type.item, item, [...path, element])
  }
}

/** Why an item cannot be told from the others of its list. */
function itemMisfit({ by }: ListType, item: unknown): string | undefined {
  if (by === "atomic") return undefined
  if (by === "value") {
    if (isRecord(item)) return "associative list without keys has an element that's a map type"
    if (Array.isArray(item)) return "not supported: associative list with lists as elements"
    if (item === null) return "associative list without keys has an element that's an explicit null"
    return undefined
  }
  if (item === null) return "associative list with keys may not have a null element"
  if (!isRecord(item)) return "associative list with keys may not have non-map elements"
  if (by.some((key) => Object.hasOwn(item, key))) return undefined
  const keys = `[${by.map(goQuote).join(" ")}]`
  return `associative list with keys has an element that omits all key fields ${keys} (and doesn't have default values for any key fields)`
}

const SCALARS = { string: "string", number: "numeric (int or float)", boolean: "boolean" } as const

function typeName(value: unknown): string {
  if (Array.isArray(value)) return "list"
  if (isRecord(value)) return "map"
  return typeof value === "boolean" ? "bool" : typeof value
}
