/** A value seen through its schema: which fields it sets, how two values differ, what merging or removing makes of them.
 *  The rules are those of Kubernetes' structured merge. Absent is undefined; null is a value that is set to nothing. */

import { isDeepStrictEqual } from "node:util"
import { isRecord } from "../../format/schema.ts"
import {
  type FieldSet,
  FieldSetBuilder,
  fieldElement,
  keyElement,
  type Path,
  valueElement,
} from "./field-set.ts"
import { any, type ListType, type MapType, type Type } from "./schema.ts"

const ANY_MAP: MapType = { is: "map", fields: {}, item: any, atomic: false }
const ANY_LIST: ListType = { is: "list", item: any, by: "atomic" }
const ANY_SCALAR: Type = { is: "scalar", of: "string" }

/** What an open type is for this value. */
export function resolve(type: Type, value: unknown): Type {
  if (type.is !== "any") return type
  if (Array.isArray(value)) return ANY_LIST
  return isRecord(value) ? ANY_MAP : ANY_SCALAR
}

const own = (map: Record<string, unknown>, key: string): unknown =>
  Object.hasOwn(map, key) ? map[key] : undefined
export const declared = (type: MapType, key: string): Type | undefined =>
  Object.hasOwn(type.fields, key) ? type.fields[key] : undefined
export const itemType = (type: MapType, key: string): Type =>
  declared(type, key) ?? type.item ?? any

export const asMap = (value: unknown): Record<string, unknown> => (isRecord(value) ? value : {})
export const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const isEmpty = (value: unknown): boolean =>
  asList(value).length === 0 && Object.keys(asMap(value)).length === 0

/** The path element of an item of a list that is not atomic. */
export function elementOf(type: ListType, item: unknown): string {
  if (type.by === "value") return valueElement(item)
  const map = asMap(item)
  const keys = asList(type.by).map(String)
  return keyElement(
    Object.fromEntries(keys.filter((k) => Object.hasOwn(map, k)).map((k) => [k, map[k]])),
  )
}

function grouped(type: ListType, items: readonly unknown[]): Map<string, unknown[]> {
  return Map.groupBy(items, (item) => elementOf(type, item))
}

/** A scalar, an atomic map or list, or two sides that are both empty: compared and merged as a whole. */
function isLeaf(type: Type, left: unknown, right: unknown): boolean {
  if (type.is === "map") return type.atomic || (isEmpty(left) && isEmpty(right))
  if (type.is === "list") return type.by === "atomic" || (isEmpty(left) && isEmpty(right))
  return true
}

/** Every leaf and item that `value` sets, null included. */
export function fieldsOf(type: Type, value: unknown): FieldSet {
  const set = new FieldSetBuilder()
  collect(type, value, [], set)
  return set.build()
}

function collect(openType: Type, value: unknown, path: Path, set: FieldSetBuilder): void {
  const type = resolve(openType, value)
  if (type.is === "list" && type.by !== "atomic") return collectItems(type, value, path, set)
  if (type.is !== "map" || type.atomic) return set.add(path)
  for (const [key, item] of Object.entries(asMap(value))) {
    const below = [...path, fieldElement(key)]
    collect(itemType(type, key), item, below, set)
    const isEmptyMap = isRecord(item) && isEmpty(item)
    if (item === null || isEmptyMap || declared(type, key) === undefined) set.add(below)
  }
}

/** An item that is there twice is owned as a whole: its fields belong to nobody in particular. */
function collectItems(type: ListType, value: unknown, path: Path, set: FieldSetBuilder): void {
  for (const [element, items] of grouped(type, asList(value))) {
    const below = [...path, element]
    if (items.length === 1) collect(type.item, items[0], below, set)
    set.add(below)
  }
}

export interface Comparison {
  readonly added: FieldSet
  readonly modified: FieldSet
  readonly removed: FieldSet
}

/** What `right` is against `left`. No field is in more than one of the three sets. */
export function compare(type: Type, left: unknown, right: unknown): Comparison {
  const comparing = new Comparing()
  comparing.walk(type, left, right, [])
  const { added, modified, removed } = comparing
  return { added: added.build(), modified: modified.build(), removed: removed.build() }
}

class Comparing {
  readonly added = new FieldSetBuilder()
  readonly modified = new FieldSetBuilder()
  readonly removed = new FieldSetBuilder()

  walk(openType: Type, left: unknown, right: unknown, path: Path): void {
    const type = resolve(openType, right ?? left)
    if (isLeaf(type, left, right)) {
      if (left !== undefined && right !== undefined && !isDeepStrictEqual(left, right))
        this.modified.add(path)
    } else if (type.is === "map") this.#entries(type, asMap(left), asMap(right), path)
    else if (type.is === "list") this.#items(type, asList(left), asList(right), path)
    if (left === undefined) this.added.add(path)
    else if (right === undefined) this.removed.add(path)
  }

  #entries(
    type: MapType,
    left: Record<string, unknown>,
    right: Record<string, unknown>,
    path: Path,
  ): void {
    for (const key of new Set([...Object.keys(left), ...Object.keys(right)]))
      this.walk(itemType(type, key), own(left, key), own(right, key), [...path, fieldElement(key)])
  }

  #items(type: ListType, left: readonly unknown[], right: readonly unknown[], path: Path): void {
    const [before, after] = [grouped(type, left), grouped(type, right)]
    for (const element of new Set([...before.keys(), ...after.keys()])) {
      const [lefts, rights] = [before.get(element) ?? [], after.get(element) ?? []]
      const below = [...path, element]
      const [wereMany, areMany] = [lefts.length > 1, rights.length > 1]
      if (wereMany && areMany) {
        if (!isDeepStrictEqual(lefts, rights)) this.modified.add(below)
        continue
      }
      const [one, other] = [wereMany ? undefined : lefts[0], areMany ? undefined : rights[0]]
      if (one !== undefined || other !== undefined) this.walk(type.item, one, other, below)
      if (wereMany) this.removed.add(below)
      if (areMany) this.added.add(below)
    }
  }
}

/** `config` over `live`. Removes nothing; undefined where both are absent. */
export function merge(openType: Type, live: unknown, config: unknown): unknown {
  const type = resolve(openType, config ?? live)
  if (isLeaf(type, live, config)) return config === undefined ? live : config
  if (type.is === "list") return mergeLists(type, asList(live), asList(config))
  if (type.is !== "map") return config
  const [left, right] = [asMap(live), asMap(config)]
  const keys = new Set([...Object.keys(left), ...Object.keys(right)])
  const entries = [...keys].map(
    (key) => [key, merge(itemType(type, key), own(left, key), own(right, key))] as const,
  )
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
}

/** The items of `config` in its order; those of `live` alone keep their place before the next common item. */
function mergeLists(
  type: ListType,
  live: readonly unknown[],
  config: readonly unknown[],
): unknown[] {
  const [before, after] = [grouped(type, live), grouped(type, config)]
  const common = [...after.keys()].filter((element) => before.has(element))
  const out: unknown[] = []
  const lives = live.map((item) => ({ item, element: elementOf(type, item) }))
  const configs = [...after.keys()]
  let [at, next, met] = [0, 0, 0]
  while (at < lives.length || next < configs.length) {
    const [here, there] = [lives[at], configs[next]]
    if (here !== undefined && !after.has(here.element)) {
      out.push(here.item)
      at += 1
    } else if (here !== undefined && there !== undefined && here.element !== common[met]) {
      // An item of both, but not the one that comes next: it moves to its place in `config`.
      at += 1
    } else if (there !== undefined) {
      const lefts = before.get(there) ?? []
      out.push(merge(type.item, lefts.length === 1 ? lefts[0] : undefined, after.get(there)?.[0]))
      if (there === common[met]) met += 1
      if (here?.element === there) at += 1
      next += 1
    } else at += 1
  }
  return out
}
