/** Writing: create, update and patch. Each ends in one of two steps, a new object or another one in its place, and all that
 *  an object must pass before it is stored stands there. */

import { isKnown } from "../../errors.ts"
import type { KubeObject } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { asStored, type Stored } from "../../registry/registry.ts"
import { decodeBody, typedObject } from "../request/body.ts"
import { type Call, type Deps, mediaTypeOf, refOf, subjectOf, writerOf } from "./call.ts"
import type { Answer } from "../answer/respond.ts"
import { applyDefaults } from "../kinds/defaults.ts"
import { trackCreate, trackUpdate } from "../managed-fields/track.ts"
import { requireNamespace } from "./namespaces.ts"
import { createOptions, patchOptions, updateOptions } from "../request/options.ts"
import { patchObject, type PatchRequest } from "../patch/patch.ts"
import { prepareForCreate, prepareForUpdate, refuseResourceVersion } from "./prepare.ts"
import { apiVersionOf, type StoredResource } from "../kinds/resources.ts"
import { alreadyExists, conflict, notFound } from "../status.ts"
import { checkNames, validateCreate, validateUpdate } from "../validation/validate.ts"

/** How often a write meets another one before it gives up. */
export const CONFLICTS_MAX = 10
const GENERATED_NAMES_MAX = 8
const EVENT_TTL_SECONDS = 60 * 60

const ttlOf = ({ kind }: StoredResource): number => (kind === "Event" ? EVENT_TTL_SECONDS : 0)

export async function create(deps: Deps, call: Call): Promise<Answer> {
  const options = createOptions(call.query)
  const how = { mediaType: mediaTypeOf(call), fieldValidation: options.fieldValidation }
  const { object, warnings } = decodeBody(call.resource, await call.body(), how)
  checkNames(object, { namespace: call.namespace })
  const tracked = trackCreate({ next: object, manager: writerOf(call, options), now: deps.now() })
  return { code: 201, object: await storeNew(deps, call, tracked, options), warnings }
}

interface Dry {
  /** Everything is checked and nothing written. */
  readonly dryRun: boolean
}

/** Throws 404 and 403 of the namespace, 409, 422. */
async function storeNew(
  { registry, now }: Deps,
  call: Call,
  object: KubeObject,
  { dryRun }: Dry,
): Promise<KubeObject> {
  const { resource, namespace } = call
  const generates = !object.metadata.name && Boolean(object.metadata.generateName)
  const named = { resource, name: object.metadata.name ?? "" }
  if (namespace !== undefined) await requireNamespace(registry, namespace, subjectOf(named))
  for (let attempt = 1; ; attempt++) {
    const prepared = prepareForCreate(resource, object, { namespace, now: now() })
    validateCreate(resource, prepared)
    refuseResourceVersion(prepared)
    const ref = { namespace, name: prepared.metadata.name ?? "" }
    try {
      if (!dryRun) return await registry.create(resource, ref, prepared, ttlOf(resource))
      if ((await registry.revisionOf(resource, ref)) === undefined) return asStored(prepared)
    } catch (error) {
      if (!isKnown(error, "AlreadyExists")) throw error
    }
    if (!generates || attempt === GENERATED_NAMES_MAX)
      throw alreadyExists(subjectOf({ resource, name: ref.name }))
  }
}

export async function update(deps: Deps, call: Call): Promise<Answer> {
  const options = updateOptions(call.query)
  const how = { mediaType: mediaTypeOf(call), fieldValidation: options.fieldValidation }
  const { object, warnings } = decodeBody(call.resource, await call.body(), how)
  checkNames(object, call)
  const manager = writerOf(call, options)
  const updated = await againstOthers(call, async () => {
    const stored = await deps.registry.get(call.resource, refOf(call))
    if (stored === undefined) throw notFound(subjectOf(call))
    requireUid(stored, object, call)
    const { subresource } = call
    const next = { ...object, metadata: { ...object.metadata, name: call.name } }
    const tracked = trackUpdate({
      live: stored.object,
      next,
      manager,
      now: deps.now(),
      subresource,
    })
    return storeOver(deps, call, { stored, object: tracked, dryRun: options.dryRun })
  })
  return { code: 200, object: updated, warnings }
}

/** Repeats a write that lost to another. Where it names a resourceVersion the second attempt ends in 409. */
async function againstOthers<T>(call: Call, write: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await write()
    } catch (error) {
      if (!isKnown(error, "Conflict", "AlreadyExists")) throw error
      if (attempt === CONFLICTS_MAX) throw conflict(subjectOf(call))
    }
  }
}

/** The words of Kubernetes' storage, which clients match. */
function requireUid({ object, key }: Stored, { metadata }: KubeObject, call: Call): void {
  if (!metadata.uid || metadata.uid === object.metadata.uid) return
  throw conflict(
    subjectOf(call),
    `StorageError: invalid object, Code: 4, Key: ${key}, ResourceVersion: 0, AdditionalErrorMsg: ` +
      `Precondition failed: UID in precondition: ${metadata.uid}, UID in object meta: ${object.metadata.uid}`,
  )
}

/** Throws 409, 422; KnownError Conflict where another write came first. An object that was only waiting for its last
 *  finalizer goes. */
export async function storeOver(
  { registry }: Deps,
  call: Pick<Call, "resource" | "name" | "subresource">,
  { stored, object, dryRun }: Dry & { stored: Stored; object: KubeObject },
): Promise<KubeObject> {
  const { resource, subresource } = call
  const old = stored.object
  const wanted = object.metadata.resourceVersion
  if (wanted && wanted !== old.metadata.resourceVersion) throw conflict(subjectOf(call))
  const prepared = prepareForUpdate(resource, { object, old, subresource })
  validateUpdate(resource, { object: prepared, old, subresource })
  if (isReleased(prepared)) {
    if (!dryRun) await registry.remove(stored)
    return asStored(prepared, stored.revision)
  }
  if (dryRun) return asStored(prepared, stored.revision)
  return registry.replace(stored, prepared, ttlOf(resource))
}

/** Whether a deleted object has nothing left to wait for. */
export function isReleased({ kind, metadata, spec }: KubeObject): boolean {
  if (!metadata.deletionTimestamp || metadata.finalizers?.length) return false
  return kind !== "Namespace" || finalizersOf(spec).length === 0
}

/** Those of a namespace's spec, which its contents hold. */
export const finalizersOf = (spec: unknown): readonly unknown[] =>
  isRecord(spec) && Array.isArray(spec.finalizers) ? spec.finalizers : []

export async function patch(deps: Deps, call: Call): Promise<Answer> {
  const mediaType = (call.headers["content-type"] ?? "").split(";")[0]?.trim() ?? ""
  const isApply = mediaType.startsWith("application/apply-patch")
  const options = patchOptions(call.query, { isApply })
  const body = (await call.body()).toString()
  const { resource, subresource } = call
  const request = {
    mediaType,
    body,
    target: {
      group: resource.group,
      resource: resource.plural,
      kind: resource.kind,
      apiVersion: apiVersionOf(resource),
      name: call.name,
      namespace: call.namespace,
    },
    subresource,
    manager: writerOf(call, options),
    force: options.force,
    fieldValidation: options.fieldValidation,
    decode: decoder(resource),
  }
  return againstOthers(call, async () => {
    const stored = await deps.registry.get(resource, refOf(call))
    const live = stored?.object
    const { object, warnings } = patchObject({ ...request, live, now: deps.now() })
    if (stored === undefined)
      return { code: 201, object: await storeNew(deps, call, object, options), warnings }
    const written = await storeOver(deps, call, { stored, object, dryRun: options.dryRun })
    return { code: 200, object: written, warnings }
  })
}

const decoder =
  (resource: StoredResource): PatchRequest["decode"] =>
  (value) => {
    const { object, problems } = typedObject(resource, value)
    return { object: applyDefaults(object), problems }
  }
