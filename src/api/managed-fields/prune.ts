/** Taking fields out of a value: what an applier no longer applies goes, unless somebody else owns it. */

import { isRecord } from "../../format/schema.ts"
import {
  difference,
  type FieldNode,
  type FieldSet,
  fieldElement,
  intersection,
  union,
} from "./field-set.ts"
import { any, type Type } from "./schema.ts"
import { asList, declared, elementOf, fieldsOf, itemType, resolve } from "./typed.ts"

/** `set` with every declared field that leads to an owned one: a struct goes with the last of its fields. */
function withNamedFields(type: Type, set: FieldSet): FieldSet {
  const out = new Map<string, FieldNode>()
  for (const [element, { owned, children }] of set) {
    const name = element.startsWith("f:") ? element.slice(2) : undefined
    let [below, isDeclared]: [Type, boolean] = [any, false]
    if (type.is === "map" && name !== undefined) {
      below = itemType(type, name)
      isDeclared = declared(type, name) !== undefined
    } else if (type.is === "list") below = type.item
    out.set(element, {
      owned: owned || (isDeclared && children.size > 0),
      children: withNamedFields(below, children),
    })
  }
  return out
}

/** `value` without the fields of `gone`; null where nothing is left of a map or list. */
export function removeFields(openType: Type, value: unknown, gone: FieldSet): unknown {
  const type = resolve(openType, value)
  if (type.is === "list") {
    if (type.by === "atomic") return null
    const items = asList(value).flatMap((item) => {
      const node = gone.get(elementOf(type, item))
      return node?.owned ? [] : [removeBelow(type.item, item, node)]
    })
    return items.length > 0 ? items : null
  }
  if (type.is !== "map") return value
  if (type.atomic || !isRecord(value)) return null
  const entries = Object.entries(value).flatMap(([key, item]) => {
    const node = gone.get(fieldElement(key))
    return node?.owned ? [] : [[key, removeBelow(itemType(type, key), item, node)] as const]
  })
  return entries.length > 0 ? Object.fromEntries(entries) : null
}

const removeBelow = (type: Type, value: unknown, node: FieldNode | undefined): unknown =>
  node === undefined || node.children.size === 0 ? value : removeFields(type, value, node.children)

/** `merged` without what the applier set last time (`last`), does not set now, and nobody in `owned` has. */
export function prune(
  type: Type,
  merged: unknown,
  { last, owned }: { last: FieldSet; owned: FieldSet },
): unknown {
  if (last.size === 0) return merged
  const named = (set: FieldSet): FieldSet => withNamedFields(type, set)
  const mergedSet = named(fieldsOf(type, merged))
  const rest = removeFields(type, merged, named(last))
  const kept = union(named(fieldsOf(type, rest)), named(owned))
  const withOwned = removeFields(type, merged, difference(mergedSet, kept))
  const dangling = difference(mergedSet, named(fieldsOf(type, withOwned)))
  return removeFields(type, merged, intersection(dangling, named(last)))
}
