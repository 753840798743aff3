/** What a change of an object does to the owners of its fields: the part that updates and applies share. */

import type { KubeObject, ObjectMeta } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import {
  difference,
  type FieldSet,
  fieldElement,
  fieldSet,
  intersection,
  union,
  withoutTop,
} from "./field-set.ts"
import type { Managed, Owner } from "./managed.ts"
import { isServed, type KindSchema } from "./schema.ts"
import { type Comparison, compare } from "./typed.ts"

const metadata = fieldElement("metadata")

/** What every object has and the server or the request's address decides: owned by nobody. */
const NEVER_OWNED = fieldSet(
  [fieldElement("apiVersion")],
  [fieldElement("kind")],
  [metadata],
  ...[
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
  ].map((name) => [metadata, fieldElement(name)]),
)

export const ownable = (set: FieldSet): FieldSet => difference(set, NEVER_OWNED)

/** `set` without what a write through this subresource cannot set. */
export const settable = (set: FieldSet, schema: KindSchema, subresource = ""): FieldSet =>
  (schema.reset[subresource] ?? []).reduce(withoutTop, set)

export const withoutManagedFields = ({ managedFields: _, ...metadata }: ObjectMeta): ObjectMeta =>
  metadata

/** The object as its schema sees it: without managedFields, with what Go's empty object shows. */
export function content({ empty }: KindSchema, object: KubeObject | undefined): unknown {
  if (object === undefined) return { ...empty, metadata: {} }
  return { ...withDefaults(empty, object), metadata: withoutManagedFields(object.metadata) }
}

function withDefaults(
  defaults: Readonly<Record<string, unknown>>,
  value: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const out = { ...defaults, ...value }
  for (const [key, fallback] of Object.entries(defaults))
    if (isRecord(fallback))
      out[key] = isRecord(value[key]) ? withDefaults(fallback, value[key]) : fallback
  return out
}

export function changesOf(
  schema: KindSchema,
  change: { before: unknown; after: unknown; subresource?: string | undefined },
): Comparison {
  const { added, modified, removed } = compare(schema.type, change.before, change.after)
  const filter = (set: FieldSet): FieldSet => settable(set, schema, change.subresource)
  return { added: filter(added), modified: filter(modified), removed: filter(removed) }
}

/** Owners of versions that are no longer served are forgotten, as are those who own nothing. */
export const current = (managed: Managed, kind: string): Managed =>
  new Map([...managed].filter(([, o]) => isServed(o.apiVersion, kind) && o.fields.size > 0))

/** For each owner but `self`, its fields that the change gives another value. */
export function takenFrom(
  managed: Managed,
  { added, modified }: Comparison,
  self?: string,
): Map<string, FieldSet> {
  const changed = union(added, modified)
  const taken = new Map<string, FieldSet>()
  for (const [id, owner] of managed) {
    const fields = id === self ? new Map() : intersection(owner.fields, changed)
    if (fields.size > 0) taken.set(id, fields)
  }
  return taken
}

/** The owners but `self` lose what the change sets or removes; who has nothing left is gone. */
export function afterChange(managed: Managed, change: Comparison, self?: string): Managed {
  const lost = union(union(change.added, change.modified), change.removed)
  const left = [...managed].map(([id, owner]): [string, Owner] =>
    id === self ? [id, owner] : [id, { ...owner, fields: difference(owner.fields, lost) }],
  )
  return new Map(left.filter(([, owner]) => owner.fields.size > 0))
}
