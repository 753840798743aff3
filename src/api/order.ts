/** Objects with their fields in the order of Go's structs, which is the order of JSON that clients are used to. */

import { ObjectMeta as ObjectMetaTable } from "../format/meta.ts"
import type { KubeObject, ObjectMeta } from "../format/object.ts"
import type { Message } from "../format/schema.ts"
import { RESOURCES } from "./resources.ts"

const MESSAGES: ReadonlyMap<string, Message> = new Map(
  RESOURCES.map(({ kind, message }) => [kind, message]),
)

/** Fields of `record` in the table's order. */
function inOrder(message: Message, record: Record<string, unknown>): Record<string, unknown> {
  const ordered: Record<string, unknown> = {}
  for (const { name } of message.fields)
    if (record[name] !== undefined) ordered[name] = record[name]
  return ordered
}

export const orderedMeta = (metadata: ObjectMeta): ObjectMeta =>
  inOrder(ObjectMetaTable, { ...metadata })

/** Kind and apiVersion come first. An object of a kind without a table stays as it is. */
export function ordered(object: KubeObject): KubeObject {
  const { kind, apiVersion, metadata } = object
  const message = MESSAGES.get(kind)
  if (message === undefined) return object
  return {
    kind,
    apiVersion,
    ...inOrder(message, { ...object, metadata: orderedMeta(metadata) }),
  } as KubeObject
}
