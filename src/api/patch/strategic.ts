/** Kubernetes' strategic merge patch: maps are merged key by key, the lists named here item by item, and all other lists
 *  are replaced; directives (`$patch`, `$retainKeys`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…`) say more. */

import { isRecord } from "../../format/schema.ts"
import { goPrint, scalarText } from "../text/go-text.ts"
import { badRequest, genericFailure, StatusError } from "../status.ts"

type Fields = Readonly<Record<string, unknown>>
type Items = readonly unknown[]

/** The lists that are merged, by path or by kind and path, with the key that tells items apart ("": items are scalars). */
const MERGED_LISTS: ReadonlyMap<string, string> = new Map([
  ["metadata.finalizers", ""],
  ["metadata.ownerReferences", "uid"],
  ["Namespace status.conditions", "type"],
  ["Node spec.podCIDRs", ""],
  ["Node status.addresses", "type"],
  ["Node status.conditions", "type"],
])

const DIRECTIVE = "$patch"
const RETAIN_KEYS = "$retainKeys"
const DELETE_FROM = "$deleteFromPrimitiveList"
const ELEMENT_ORDER = "$setElementOrder"

/** The patched object, not decoded yet. Throws StatusError where the patch is not one. */
export const strategicMerge = (object: Fields, patch: Fields): Fields =>
  mergeMap(object, patch, { kind: scalarText(object["kind"]), path: "" })

interface Place {
  readonly kind: string
  readonly path: string
}

const below = ({ kind, path }: Place, key: string): Place => ({
  kind,
  path: path === "" ? key : `${path}.${key}`,
})

/** The merge key of the list at `place`; undefined where lists there are replaced. */
export const mergeKeyOf = ({ kind, path }: Place): string | undefined =>
  MERGED_LISTS.get(path) ?? MERGED_LISTS.get(`${kind} ${path}`)

function mergeMap(original: Fields, patch: Fields, place: Place): Fields {
  if (Object.hasOwn(patch, DIRECTIVE)) return replaced(patch)
  const { fields, orders, deletions } = split(patch)
  const merged = new Map(Object.entries(retained(original, patch, fields)))
  for (const [key, value] of fields) {
    const result = mergeValue(merged.get(key), value, below(place, key))
    if (result === undefined) merged.delete(key)
    else merged.set(key, result)
  }
  for (const [key, order] of orders) {
    const [before, sent, list] = [original[key], patch[key], merged.get(key)]
    const mergeKey = mergeKeyOf(below(place, key)) ?? ""
    checkOrder(asItems(sent ?? []), order, mergeKey)
    if (list !== undefined)
      merged.set(key, ordered(asItems(list), { order, before: asItems(before ?? []), mergeKey }))
  }
  for (const [key, gone] of deletions) {
    const list = merged.get(key)
    const left = new Set(gone)
    if (list !== undefined)
      merged.set(
        key,
        asItems(list).filter((item) => !left.has(item)),
      )
  }
  return Object.fromEntries(merged)
}

/** A map that is not merged: taken as it is, or emptied. */
function replaced(patch: Fields): Fields {
  const { [DIRECTIVE]: directive, ...fields } = patch
  if (directive === "replace") return fields
  if (directive === "delete") return {}
  throw unknownDirective(patch)
}

const unknownDirective = (patch: Fields): StatusError =>
  failed(`unknown patch type: ${goPrint(patch[DIRECTIVE])}`)

/** What kube-apiserver answers where a patch makes no sense and no code of its own is meant for it. */
const failed = (message: string): StatusError => new StatusError({ code: 500, message })

interface Split {
  readonly fields: readonly [string, unknown][]
  /** By the list's key: the order of its items, and the items to be deleted from it. */
  readonly orders: readonly [string, Items][]
  readonly deletions: readonly [string, Items][]
}

function split(patch: Fields): Split {
  const entries = Object.entries(patch)
  const isDirective = (key: string): boolean =>
    key === RETAIN_KEYS || key.startsWith(DELETE_FROM) || key.startsWith(ELEMENT_ORDER)
  const lists = (prefix: string, malformed: string): [string, Items][] =>
    entries.flatMap(([key, value]) => {
      if (!key.startsWith(prefix)) return []
      if (!key.startsWith(`${prefix}/`)) throw badRequest(malformed)
      return [[key.slice(prefix.length + 1), asItems(value)]]
    })
  return {
    fields: entries.filter(([key]) => !isDirective(key)),
    orders: lists(ELEMENT_ORDER, "invalid patch format of setElementOrder list"),
    deletions: lists(DELETE_FROM, "invalid patch format of primitive list"),
  }
}

function asItems(value: unknown): Items {
  if (Array.isArray(value)) return value
  const seen = isRecord(value) ? "map[string]interface {}" : typeof value
  throw failed(`expected a []interface {}, but received a ${seen}`)
}

/** `original` with the keys alone that `$retainKeys` lists, where the patch has it. */
function retained(original: Fields, patch: Fields, fields: Split["fields"]): Fields {
  if (!Object.hasOwn(patch, RETAIN_KEYS)) return original
  const keys = patch[RETAIN_KEYS]
  const listed = new Set<unknown>(Array.isArray(keys) ? keys : [])
  const isListed = ([key]: readonly [string, unknown]): boolean => listed.has(key)
  const isComplete = fields.every((field) => field[1] === null || isListed(field))
  if (!Array.isArray(keys) || !isComplete) throw badRequest("invalid patch format of retainKeys")
  return Object.fromEntries(Object.entries(original).filter(isListed))
}

/** Undefined: the field goes. */
function mergeValue(before: unknown, value: unknown, place: Place): unknown {
  if (value === null) return undefined
  if (isRecord(before) && isRecord(value)) return mergeMap(before, value, place)
  if (Array.isArray(before) && Array.isArray(value)) {
    const mergeKey = mergeKeyOf(place)
    return mergeKey === undefined ? value : mergeList(before, value, { mergeKey, place })
  }
  return cleaned(value)
}

/** What is new: without nulls and without the maps that are directives only. */
function cleaned(value: unknown): unknown {
  const isKept = (item: unknown): boolean => !isRecord(item) || !Object.hasOwn(item, DIRECTIVE)
  if (Array.isArray(value)) return value.filter(isKept).map(cleaned)
  if (!isRecord(value)) return value
  if (!isKept(value)) return undefined
  const entries = Object.entries(value).filter(([, item]) => item !== null && isKept(item))
  return Object.fromEntries(entries.map(([key, item]) => [key, cleaned(item)]))
}

function mergeList(
  before: Items,
  patch: Items,
  { mergeKey, place }: { mergeKey: string; place: Place },
): Items {
  if ([...before, ...patch].some(Array.isArray)) throw genericFailure(422)
  if (mergeKey === "") {
    const all = [...new Set([...before, ...patch])]
    return ordered(all, { order: patch, before, mergeKey })
  }
  const { kept, items } = withDirectives(before, patch, mergeKey)
  const merged = [...kept]
  const ranks = ranksOf(merged, mergeKey)
  for (const item of items) {
    const key = keyOf(item, mergeKey)
    const at = ranks.get(key) ?? merged.length
    const found = merged[at]
    merged[at] = isRecord(found) && isRecord(item) ? mergeMap(found, item, place) : item
    ranks.set(key, at)
  }
  return ordered(merged, { order: items, before: kept, mergeKey })
}

/** The stored items that the patch's directives leave, and the patch's items that are no directives. */
function withDirectives(
  before: Items,
  patch: Items,
  mergeKey: string,
): { kept: Items; items: Items } {
  const deleted = new Set<unknown>()
  let isReplaced = false
  const items = patch.filter((item) => {
    if (!isRecord(item) || !Object.hasOwn(item, DIRECTIVE)) return true
    const directive = item[DIRECTIVE]
    if (directive === "replace") isReplaced = true
    else if (directive === "delete") deleted.add(keyOf(item, mergeKey))
    else if (directive === "merge")
      throw failed("merging lists cannot yet be specified in the patch")
    else throw unknownDirective(item)
    return false
  })
  if (isReplaced) return { kept: items, items: [] }
  const isKept = (item: unknown): boolean => !deleted.has(keyOf(item, mergeKey))
  return { kept: deleted.size === 0 ? before : before.filter(isKept), items }
}

/** What tells an item from the others. */
function keyOf(item: unknown, mergeKey: string): unknown {
  if (mergeKey === "") return item
  if (isRecord(item) && Object.hasOwn(item, mergeKey)) return item[mergeKey]
  throw failed(`map: ${goPrint(item)} does not contain declared merge key: ${mergeKey}`)
}

/** Where the first item with each key is. */
function ranksOf(items: Items, mergeKey: string): Map<unknown, number> {
  const ranks = new Map<unknown, number>()
  for (const [rank, item] of items.entries()) {
    const key = keyOf(item, mergeKey)
    if (!ranks.has(key)) ranks.set(key, rank)
  }
  return ranks
}

/** The patch's items must come in the order that the patch itself gives. */
function checkOrder(patch: Items, order: Items, mergeKey: string): void {
  if (order.length === 0) return
  const isDirective = (item: unknown): boolean => isRecord(item) && Object.hasOwn(item, DIRECTIVE)
  const sent = patch.filter((item) => !isDirective(item))
  let matched = 0
  for (const item of order)
    if (matched < sent.length && keyOf(sent[matched], mergeKey) === keyOf(item, mergeKey)) matched++
  if (matched < sent.length)
    throw failed(
      `The order in patch list:\n${goPrint(patch)}\n` +
        ` doesn't match ${ELEMENT_ORDER} list:\n${goPrint(order)}\n`,
    )
}

/** Items of `order` in that order; the others, in the order they had, come before the next of those that they preceded. */
function ordered(
  items: Items,
  { order, before, mergeKey }: { order: Items; before: Items; mergeKey: string },
): Items {
  const rankIn = (list: Items) => {
    const ranks = ranksOf(list, mergeKey)
    return (item: unknown): number => ranks.get(keyOf(item, mergeKey)) ?? -1
  }
  const [orderRank, storedRank] = [rankIn(order), rankIn(before)]
  const ours = items
    .filter((item) => orderRank(item) >= 0)
    .toSorted((a, b) => orderRank(a) - orderRank(b))
  const theirs = items
    .filter((item) => orderRank(item) < 0)
    .toSorted((a, b) => storedRank(a) - storedRank(b))
  const out: unknown[] = []
  let next = 0
  for (const item of ours) {
    const rank = storedRank(item)
    while (next < theirs.length && storedRank(theirs[next]) < rank) out.push(theirs[next++])
    out.push(item)
  }
  return [...out, ...theirs.slice(next)]
}
