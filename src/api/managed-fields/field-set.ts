/** Sets of fields, as FieldsV1 writes them: a tree of path elements, each one owned or only on the way to one that is.
 *  A path element is its own text, in canonical form (`f:name`, `k:{"uid":"u1"}`, `v:"x"`, `i:0`), so equal elements are
 *  equal strings. Sets are values: no function changes its arguments. */

import { isRecord } from "../../format/schema.ts"
import { goJson } from "../text/go-text.ts"

export interface FieldNode {
  readonly owned: boolean
  readonly children: FieldSet
}
/** Holds no node that is neither owned nor has children. */
export type FieldSet = ReadonlyMap<string, FieldNode>
export type Path = readonly string[]

export const EMPTY: FieldSet = new Map()

const NOWHERE: FieldNode = { owned: false, children: EMPTY }

/** What lies in one set alone is taken as it is, not copied. */
function combine(a: FieldSet, b: FieldSet, keep: (a: boolean, b: boolean) => boolean): FieldSet {
  if (b.size === 0) return keep(true, false) ? a : EMPTY
  if (a.size === 0) return keep(false, true) ? b : EMPTY
  const out = new Map<string, FieldNode>()
  const put = (element: string, inA: FieldNode, inB: FieldNode): void => {
    const owned = keep(inA.owned, inB.owned)
    const children = combine(inA.children, inB.children, keep)
    if (owned || children.size > 0) out.set(element, { owned, children })
  }
  for (const [element, inA] of a) put(element, inA, b.get(element) ?? NOWHERE)
  if (keep(false, true))
    for (const [element, inB] of b) if (!a.has(element)) put(element, NOWHERE, inB)
  return out
}

export const union = (a: FieldSet, b: FieldSet): FieldSet => combine(a, b, (x, y) => x || y)

/** Halved again and again, as each union copies both of its sets. */
export function unionOf(sets: readonly FieldSet[]): FieldSet {
  const [first = EMPTY, ...more] = sets
  if (more.length === 0) return first
  const half = sets.length >> 1
  return union(unionOf(sets.slice(0, half)), unionOf(sets.slice(half)))
}

export const intersection = (a: FieldSet, b: FieldSet): FieldSet => combine(a, b, (x, y) => x && y)
/** Exact paths only: taking away a parent leaves its children. */
export const difference = (a: FieldSet, b: FieldSet): FieldSet => combine(a, b, (x, y) => x && !y)

/** `set` without `element` of the top level and all below it. */
export const withoutTop = (set: FieldSet, element: string): FieldSet =>
  new Map([...set].filter(([key]) => key !== element))

/** Collects paths, then is a set. The path of no element is the whole object, which nobody owns. */
export class FieldSetBuilder {
  #root: MutableNode = { owned: false, children: new Map() }

  add(path: Path): void {
    if (path.length === 0) return
    let node = this.#root
    for (const element of path) {
      let next = node.children.get(element)
      if (next === undefined) {
        next = { owned: false, children: new Map() }
        node.children.set(element, next)
      }
      node = next
    }
    node.owned = true
  }

  build(): FieldSet {
    return this.#root.children
  }
}

interface MutableNode {
  owned: boolean
  children: Map<string, MutableNode>
}

export function fieldSet(...paths: Path[]): FieldSet {
  const builder = new FieldSetBuilder()
  for (const path of paths) builder.add(path)
  return builder.build()
}

/** Every owned path, parents' level by level before what lies below, as Kubernetes lists conflicts. */
export function* paths(set: FieldSet, prefix: Path = []): Generator<Path> {
  const elements = sorted(set)
  for (const [element, { owned }] of elements) if (owned) yield [...prefix, element]
  for (const [element, { children }] of elements) yield* paths(children, [...prefix, element])
}

/** `.metadata.ownerReferences[uid="u1"]`, for messages. */
export const printPath = (path: Path): string => path.map(printElement).join("")

function printElement(element: string): string {
  const text = element.slice(2)
  if (element.startsWith("f:")) return `.${text}`
  if (element.startsWith("v:")) return `[=${text}]`
  if (element.startsWith("i:")) return `[${text}]`
  const keys = entriesOf(parse(text))
  return `[${keys.map(([name, value]) => `${name}=${goJson(value)}`).join(",")}]`
}

const parse = (text: string): unknown => JSON.parse(text)
const entriesOf = (keys: unknown): [string, unknown][] =>
  isRecord(keys) ? Object.entries(keys) : []

export const fieldElement = (name: string): string => `f:${name}`
export const valueElement = (value: unknown): string => `v:${goJson(value)}`
export const keyElement = (keys: Record<string, unknown>): string =>
  `k:${goJson(Object.fromEntries(Object.entries(keys).toSorted(([a], [b]) => compare(a, b))))}`

/** UTF-16's order, which is Go's byte order for all that a name may hold. */
const compare = <T extends string | number>(a: T, b: T): number => (a < b ? -1 : a > b ? 1 : 0)

const KINDS = ["f", "k", "v", "i"]
const VALUE_TYPES = ["number", "string", "boolean"]

function compareValues(a: unknown, b: unknown): number {
  const types = VALUE_TYPES.indexOf(typeof a) - VALUE_TYPES.indexOf(typeof b)
  if (types !== 0) return types
  return typeof a === "number" ? compare(a, Number(b)) : compare(String(a), String(b))
}

function compareKeys(a: [string, unknown][], b: [string, unknown][]): number {
  for (const [i, [name, value]] of a.entries()) {
    const other = b[i]
    if (other === undefined) return 1
    const order = compare(name, other[0]) || compareValues(value, other[1])
    if (order !== 0) return order
  }
  return a.length - b.length
}

function compareElements(a: string, b: string): number {
  const [kind, textA, textB] = [a.charAt(0), a.slice(2), b.slice(2)]
  if (kind !== b.charAt(0)) return KINDS.indexOf(kind) - KINDS.indexOf(b.charAt(0))
  if (kind === "f") return compare(textA, textB)
  if (kind === "i") return Number(textA) - Number(textB)
  const [valueA, valueB] = [parse(textA), parse(textB)]
  return kind === "v"
    ? compareValues(valueA, valueB)
    : compareKeys(entriesOf(valueA), entriesOf(valueB))
}

const sorted = (set: FieldSet): [string, FieldNode][] =>
  [...set].toSorted(([a], [b]) => compareElements(a, b))

/** FieldsV1 in Go's order, so that the same set is always the same bytes. */
export function encodeFields(set: FieldSet): Record<string, unknown> {
  const entries = sorted(set).map(([element, { owned, children }]) => {
    const below = encodeFields(children)
    return [element, owned && children.size > 0 ? { ".": {}, ...below } : below] as const
  })
  return Object.fromEntries(entries)
}

/** The canonical form of a stored element; undefined for a kind of element that is not known, which is passed over. */
function canonical(element: string): string | undefined {
  if (element.charAt(1) !== ":") throw new SyntaxError(`missing colon: ${element}`)
  const text = element.slice(2)
  switch (element.charAt(0)) {
    case "f":
      return element
    case "v":
      return valueElement(JSON.parse(text))
    case "k": {
      const keys: unknown = JSON.parse(text)
      if (!isRecord(keys)) throw new SyntaxError(`not an object: ${element}`)
      return keyElement(keys)
    }
    case "i":
      if (!/^[+-]?\d+$/.test(text)) throw new SyntaxError(`not an index: ${element}`)
      return `i:${Number(text)}`
    default:
      return undefined
  }
}

/** Throws SyntaxError where `fields` is not FieldsV1. */
export function decodeFields(fields: unknown): FieldSet {
  if (!isRecord(fields)) throw new SyntaxError("fields are not an object")
  const out = new Map<string, FieldNode>()
  for (const [text, below] of Object.entries(fields)) {
    if (text === ".") continue
    const element = canonical(text)
    if (element === undefined) continue
    const children = decodeFields(below ?? {})
    const owned = children.size === 0 || Object.hasOwn(below ?? {}, ".")
    out.set(element, { owned, children })
  }
  return out
}
