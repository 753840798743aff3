/** JSON merge patch (RFC 7386). */

import { isRecord } from "../../format/schema.ts"

/** A patched copy. In it the objects that the patch reaches have their keys in order, as Go's maps are written, and all
 *  others are as they were. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (Array.isArray(patch)) return patch.map(withoutNulls)
  if (!isRecord(patch)) return patch
  if (!isRecord(target)) return withoutNulls(patch)
  const merged = new Map(Object.entries(target))
  for (const [key, value] of Object.entries(patch))
    if (value === null) merged.delete(key)
    else merged.set(key, mergePatch(merged.get(key), value))
  return inOrder(merged)
}

/** What a patch adds where nothing was: an array keeps its nulls, an object does not. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (!isRecord(value)) return value
  const kept = Object.entries(value).filter(([, item]) => item !== null)
  return inOrder(new Map(kept.map(([key, item]) => [key, withoutNulls(item)])))
}

const inOrder = (map: ReadonlyMap<string, unknown>): Record<string, unknown> =>
  Object.fromEntries([...map].toSorted(([a], [b]) => (a < b ? -1 : 1)))
