/** Who set what, for writes that are no apply: create, update and every other patch. */

import type { KubeObject, ManagedFieldsEntry } from "../../format/object.ts"
import { toTime } from "../../format/time.ts"
import { EMPTY, union } from "./field-set.ts"
import { capUpdaters, decodeManaged, encodeManaged, type Managed, ownerId } from "./managed.ts"
import {
  afterChange,
  changesOf,
  content,
  current,
  ownable,
  withoutManagedFields,
} from "./ownership.ts"
import { schemaOf } from "./schema.ts"

export interface Update {
  readonly live: KubeObject
  /** As it is to be stored but for managedFields: defaults filled in, stringData written to data. */
  readonly next: KubeObject
  /** Who writes: the fieldManager, or else the user agent. */
  readonly manager: string
  readonly now: Date
  readonly subresource?: string | undefined
}

/** `next` with its managedFields. The manager owns what differs from `live`; the others lose it. Entries that the
 *  client sent are honoured where they can be read; an empty list, or a list of one empty entry, clears them, and an
 *  object without any is not tracked before its first apply. */
export function trackUpdate(update: Update): KubeObject {
  const { live, next, subresource } = update
  const sent = subresource === undefined ? next.metadata.managedFields : undefined
  const managed = sent && isReset(sent) ? new Map() : honoured(sent, live.metadata.managedFields)
  return withManaged(next, managed.size === 0 ? managed : owners(update, managed))
}

/** The new object with its managedFields: its manager owns all of it. */
export function trackCreate(create: Omit<Update, "live">): KubeObject {
  const sent = create.next.metadata.managedFields
  const managed = sent && !isReset(sent) ? honoured(sent, undefined) : new Map()
  return withManaged(create.next, owners({ ...create, live: undefined }, managed))
}

export function isReset([first, ...more]: readonly ManagedFieldsEntry[]): boolean {
  return first === undefined || (more.length === 0 && Object.keys(first).length === 0)
}

/** What the client sent, or what is stored where that is nothing or cannot be read. */
function honoured(
  sent: readonly ManagedFieldsEntry[] | undefined,
  stored: readonly ManagedFieldsEntry[] | undefined,
): Managed {
  const decoded = sent && decodeManaged(sent)
  if (decoded !== undefined && decoded.size > 0) return decoded
  return (stored && decodeManaged(stored)) ?? new Map()
}

/** The owners after the write that leads from `live` (undefined: from nothing) to `next`. */
export function owners(
  {
    live,
    next,
    manager,
    now,
    subresource,
  }: Omit<Update, "live"> & { live: Update["live"] | undefined },
  before: Managed,
): Managed {
  const schema = schemaOf(next)
  const change = changesOf(schema, {
    before: content(schema, live),
    after: content(schema, next),
    subresource,
  })
  const managed = new Map(afterChange(current(before, next.kind), change))
  const set = ownable(union(change.added, change.modified))
  if (set.size > 0) {
    const self = { manager, operation: "Update", apiVersion: next.apiVersion, subresource } as const
    const previous = managed.get(ownerId(self))?.fields ?? EMPTY
    const fields = union(previous, set)
    managed.set(ownerId(self), { ...self, time: toTime(now), fields })
  }
  return capUpdaters(managed)
}

/** A copy with these owners as its managedFields. */
export function withManaged(object: KubeObject, managed: Managed): KubeObject {
  const metadata = withoutManagedFields(object.metadata)
  const entries = encodeManaged(managed)
  return { ...object, metadata: entries ? { ...metadata, managedFields: entries } : metadata }
}
