/** The entries of metadata.managedFields: decoded to sets by manager, encoded in Kubernetes' order, and kept few. */

import type { ManagedFieldsEntry } from "../../format/object.ts"
import { decodeFields, EMPTY, encodeFields, type FieldSet, unionOf } from "./field-set.ts"

/** Who owns fields: a manager by one kind of operation on one version and subresource. Appliers are one over all versions. */
export interface Owner {
  readonly manager: string
  readonly operation: "Apply" | "Update"
  readonly apiVersion: string
  readonly subresource?: string | undefined
  /** RFC 3339 in whole seconds; absent where the manager never changed a value. */
  readonly time?: string | undefined
  readonly fields: FieldSet
}

/** By {@link ownerId}. */
export type Managed = ReadonlyMap<string, Owner>

export const ownerId = (owner: Omit<Owner, "time" | "fields">): string =>
  JSON.stringify([
    owner.manager,
    owner.operation,
    owner.operation === "Apply" ? "" : owner.apiVersion,
    owner.subresource ?? "",
  ])

/** The owners by id; undefined where an entry is not one that Kubernetes would read. */
export function decodeManaged(entries: readonly ManagedFieldsEntry[]): Managed | undefined {
  const owners = entries.map(decodeOwner)
  if (owners.includes(undefined)) return undefined
  return new Map(owners.filter((owner) => owner !== undefined).map((o) => [ownerId(o), o]))
}

function decodeOwner(entry: ManagedFieldsEntry): Owner | undefined {
  const { operation, apiVersion, fieldsType, time, subresource } = entry
  if (operation !== "Apply" && operation !== "Update") return undefined
  if (!apiVersion || fieldsType !== "FieldsV1") return undefined
  try {
    const fields = decodeFields(entry.fieldsV1 ?? {})
    return { manager: entry.manager ?? "", operation, apiVersion, subresource, time, fields }
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** Undefined where nobody owns anything, as the field is then left out. */
export function encodeManaged(managed: Managed): ManagedFieldsEntry[] | undefined {
  if (managed.size === 0) return undefined
  return [...managed.values()].toSorted(compareOwners).map(encodeOwner)
}

const encodeOwner = (owner: Owner): ManagedFieldsEntry => ({
  ...(owner.manager === "" ? {} : { manager: owner.manager }),
  operation: owner.operation,
  apiVersion: owner.apiVersion,
  ...(owner.time === undefined ? {} : { time: owner.time }),
  fieldsType: "FieldsV1",
  fieldsV1: encodeFields(owner.fields),
  ...(owner.subresource ? { subresource: owner.subresource } : {}),
})

const seconds = ({ time }: Owner): number =>
  time === undefined ? 0 : Math.floor(Date.parse(time) / 1000)

/** Appliers first, then by time, name, version and subresource. */
function compareOwners(a: Owner, b: Owner): number {
  const before = (x: string, y: string): number => (x < y ? -1 : x > y ? 1 : 0)
  return (
    before(a.operation, b.operation) ||
    seconds(a) - seconds(b) ||
    before(a.manager, b.manager) ||
    before(a.apiVersion, b.apiVersion) ||
    before(a.subresource ?? "", b.subresource ?? "")
  )
}

const UPDATERS_MAX = 10
const BUCKET = "ancient-changes"

/** At most 10 owners by Update: the oldest of a version are merged into one, at the time of its youngest. */
export function capUpdaters(managed: Managed): Managed {
  const updaters = [...managed.entries()]
    .filter(([, owner]) => owner.operation === "Update")
    .toSorted(([idA, a], [idB, b]) => seconds(a) - seconds(b) || (idA < idB ? -1 : 1))
  let count = updaters.length
  const out = new Map(managed)
  const firstOf = new Map<string, string>()
  const merged = new Map<string, FieldSet[]>()
  for (const [id, owner] of updaters) {
    if (count <= UPDATERS_MAX) break
    const first = firstOf.get(owner.apiVersion)
    if (first === undefined) {
      firstOf.set(owner.apiVersion, id)
      continue
    }
    const { apiVersion, time } = owner
    const bucket = { manager: BUCKET, operation: "Update", apiVersion } as const
    const bucketId = ownerId(bucket)
    const sets = merged.get(bucketId) ?? [out.get(first)?.fields ?? EMPTY]
    if (sets.length === 1) out.delete(first)
    sets.push(owner.fields)
    merged.set(bucketId, sets)
    out.delete(id)
    out.set(bucketId, { ...bucket, time, fields: EMPTY })
    count -= 1
  }
  for (const [id, sets] of merged) {
    const owner = out.get(id)
    if (owner !== undefined) out.set(id, { ...owner, fields: unionOf(sets) })
  }
  return out
}
