/** Server-side apply: a configuration merged over the live object, and who owns what afterwards. */

import { isDeepStrictEqual } from "node:util"
import type { KubeObject } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { toTime } from "../../format/time.ts"
import { goQuote, goSortedJson, scalarText } from "../text/go-text.ts"
import { ANNOTATIONS_BYTES_MAX } from "../validation/meta.ts"
import { applyConflict, badRequest, StatusError } from "../status.ts"
import { difference, EMPTY, type FieldSet, paths, printPath, unionOf } from "./field-set.ts"
import { decodeManaged, type Managed, type Owner, ownerId } from "./managed.ts"
import {
  afterChange,
  changesOf,
  content,
  current,
  ownable,
  settable,
  takenFrom,
} from "./ownership.ts"
import { prune } from "./prune.ts"
import { type KindSchema, schemaOf } from "./schema.ts"
import { owners, withManaged } from "./track.ts"
import { compare, fieldsOf, merge } from "./typed.ts"
import { schemaError } from "./validate.ts"

export interface Apply {
  /** Undefined: the object is to be created. */
  readonly live: KubeObject | undefined
  /** As the client sent it: neither checked nor decoded. */
  readonly applied: unknown
  /** The served kind, and the name that messages give the object. */
  readonly target: {
    apiVersion: string
    kind: string
    name: string
    namespace?: string | undefined
  }
  readonly manager: string
  readonly force: boolean
  readonly now: Date
  readonly subresource?: string | undefined
  /** The kind's reader of JSON values: null is absent, defaults filled in, stringData written to data. */
  decode(object: unknown): KubeObject
}

const KUBECTL = "kubectl"
export const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

/** The object to store. Throws StatusError: 409 where others own what the configuration changes, 400 and 500 where it is not
 *  one that can be applied. */
export function applyPatch(apply: Apply): KubeObject {
  const config = checked(apply)
  const { live, manager, target } = apply
  const schema = schemaOf(target)
  const managed = managedBefore(apply)
  const merged = mergeOwned(apply, { schema, config, managed, before: content(schema, live) })
  const bare = apply.decode(merged.object)
  const synced = manager === KUBECTL ? withLastApplied(bare, config) : bare
  const tracked = withManaged(synced, merged.managed)
  return live === undefined ? tracked : keepTimes({ live, next: tracked })
}

interface State {
  readonly schema: KindSchema
  readonly config: Record<string, unknown>
  readonly managed: Managed
  /** The live object's content. */
  readonly before: unknown
}

/** The configuration, once it is known to be one of the served kind and to fit its schema. */
function checked({ applied, target }: Apply): Record<string, unknown> {
  const config = isRecord(applied) ? applied : {}
  const { apiVersion, kind } = config
  if (apiVersion !== target.apiVersion || kind !== target.kind)
    throw badRequest(`invalid object type: ${printKind({ apiVersion, kind })}`)
  const { metadata } = config
  if (isRecord(metadata) && (metadata["managedFields"] ?? null) !== null)
    throw badRequest("metadata.managedFields must be nil")
  const misfit = schemaError(schemaOf(target).type, config)
  if (misfit !== undefined) {
    const subject = `${target.namespace ?? ""}/${target.name}; ${printKind(target)}`
    const message = `failed to create typed patch object (${subject}): ${misfit}`
    throw new StatusError({ code: 500, message })
  }
  return config
}

function printKind({ apiVersion, kind }: { apiVersion: unknown; kind: unknown }): string {
  const [version, group] = scalarText(apiVersion).split("/").toReversed()
  return `${group ?? ""}/${version}, Kind=${scalarText(kind)}`
}

/** An object that nobody is tracked on belongs, as it is, to a manager of its own. */
function managedBefore({ live, target, now }: Apply): Managed {
  const managed = decodeManaged(live?.metadata.managedFields ?? [])
  if (managed === undefined) {
    throw new StatusError({ code: 500, message: "failed to decode managed fields" })
  }
  if (managed.size > 0 || live === undefined) return current(managed, target.kind)
  return owners({ live: undefined, next: live, manager: "before-first-apply", now }, managed)
}

interface Merged {
  /** Not decoded yet. */
  readonly object: unknown
  readonly managed: Managed
}

function mergeOwned(apply: Apply, state: State): Merged {
  const { apiVersion } = apply.target
  const { manager, subresource } = apply
  const self = { manager, operation: "Apply", apiVersion, subresource } as const
  const id = ownerId(self)
  const last = state.managed.get(id)
  const { type } = state.schema
  const fields = settable(fieldsOf(type, state.config), state.schema, subresource)
  const managed = new Map(state.managed).set(id, { ...self, time: last?.time, fields })
  const owned = unionOf(Array.from(managed.values(), (owner) => owner.fields))
  const after = prune(type, merge(type, state.before, state.config), {
    last: last?.fields ?? EMPTY,
    owned,
  })
  const change = changesOf(state.schema, { before: state.before, after, subresource })
  const conflicts = withoutLastApplied(apply, takenFrom(managed, change, id))
  if (!apply.force && conflicts.size > 0) throw conflictError(managed, conflicts)
  const left = new Map(afterChange(managed, change, id))
  const mine = ownable(fields)
  const changed = !isDeepStrictEqual(state.before, after)
  if (mine.size === 0) left.delete(id)
  else left.set(id, { ...self, time: changed ? toTime(apply.now) : last?.time, fields: mine })
  return { object: after, managed: left }
}

type Conflicts = ReadonlyMap<string, FieldSet>

/** kubectl may take what its own client-side apply set, as long as nobody changed the value since. */
function withoutLastApplied({ manager, live, target }: Apply, conflicts: Conflicts): Conflicts {
  const text = live?.metadata.annotations?.[LAST_APPLIED]
  if (manager !== KUBECTL || !text) return conflicts
  const schema = schemaOf(target)
  const configuration = parsed(text)
  if (configuration?.["apiVersion"] !== target.apiVersion) return conflicts
  if (schemaError(schema.type, configuration) !== undefined) return conflicts
  const { added, modified, removed } = compare(schema.type, configuration, content(schema, live))
  const allowed = [added, modified, removed].reduce(
    difference,
    fieldsOf(schema.type, configuration),
  )
  const left = [...conflicts].map(([id, set]) => [id, difference(set, allowed)] as const)
  return new Map(left.filter(([, set]) => set.size > 0))
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

function conflictError(managed: Managed, conflicts: Conflicts): StatusError {
  const found = [...conflicts].flatMap(([id, set]) => {
    const owner = managed.get(id)
    const who = owner === undefined ? goQuote(id) : printOwner(owner)
    return [...paths(set)].map((path) => ({ id, who, field: printPath(path) }))
  })
  const causes = found.map(({ who, field }) => ({
    reason: "FieldManagerConflict",
    message: `conflict with ${who}`,
    field,
  }))
  const [first] = found
  if (found.length === 1 && first !== undefined) {
    const { who, field } = first
    return applyConflict(`Apply failed with 1 conflict: conflict with ${who}: ${field}`, causes)
  }
  const byOwner = [...Map.groupBy(found, ({ id }) => id)].toSorted(([a], [b]) => (a < b ? -1 : 1))
  const lines = byOwner.flatMap(([, rows]) => [
    `conflicts with ${rows[0]?.who}:`,
    ...rows.map(({ field }) => `- ${field}`),
  ])
  return applyConflict(`Apply failed with ${found.length} conflicts: ${lines.join("\n")}`, causes)
}

function printOwner({ manager, operation, apiVersion, subresource }: Owner): string {
  const name = goQuote(manager) + (subresource ? ` with subresource ${goQuote(subresource)}` : "")
  return operation === "Update" ? `${name} using ${apiVersion}` : name
}

/** kubectl's annotation, where there is one, follows what kubectl applies; left out where it would be too big. */
function withLastApplied(object: KubeObject, config: Record<string, unknown>): KubeObject {
  const { annotations: stored = {} } = object.metadata
  if (!stored[LAST_APPLIED]) return object
  const others = withoutAnnotation(stored)
  const annotations = { ...others, [LAST_APPLIED]: `${goSortedJson(withoutOwnCopy(config))}\n` }
  const sizeBytes = Object.entries(annotations)
    .flat()
    .reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  const kept = sizeBytes > ANNOTATIONS_BYTES_MAX ? others : annotations
  return { ...object, metadata: { ...object.metadata, annotations: kept } }
}

function withoutOwnCopy(config: Record<string, unknown>): Record<string, unknown> {
  const { metadata } = config
  if (!isRecord(metadata) || !isRecord(metadata["annotations"])) return config
  const annotations = withoutAnnotation(metadata["annotations"])
  return { ...config, metadata: { ...metadata, annotations } }
}

const withoutAnnotation = <T>({ [LAST_APPLIED]: _, ...others }: Record<string, T>) => others

/** `next`, with the stored times where nothing else is new: an apply that changes nothing is not written. */
function keepTimes({ live, next }: { live: KubeObject; next: KubeObject }): KubeObject {
  const times = live.metadata.managedFields?.map(({ time }) => time)
  const timed = next.metadata.managedFields?.map(({ time: _, ...entry }, i) => {
    const time = times?.[i]
    return time === undefined ? entry : { ...entry, time }
  })
  if (timed === undefined) return next
  const kept = { ...next, metadata: { ...next.metadata, managedFields: timed } }
  return isDeepStrictEqual(kept, live) ? live : next
}
