/** Deleting one object or a whole selection. Nothing here collects garbage: an object that is to outlive its owner does, and
 *  one that is to go after its dependents has none, so the finalizers `orphan` and `foregroundDeletion` are shown in the
 *  answer and gone at once. */

import { isKnown } from "../../errors.ts"
import type { KubeObject } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { toTime } from "../../format/time.ts"
import { asStored, type Stored } from "../../registry/registry.ts"
import { type Ref, storageKey } from "../../registry/resource.ts"
import { isUnreadable } from "../../registry/view.ts"
import { decodeDeleteBody } from "../request/body.ts"
import { type Call, type Deps, mediaTypeOf, refOf, subjectOf } from "./call.ts"
import type { Answer } from "../answer/respond.ts"
import { refuseImmortal } from "./namespaces.ts"
import { type DeleteOptions, deleteOptions, listOptions } from "../request/options.ts"
import { listSelected, selectionOf, toList, UNREAD } from "./read.ts"
import type { StoredResource } from "../kinds/resources.ts"
import { conflict, fieldError, invalid, notFound } from "../status.ts"
import { CONFLICTS_MAX, isReleased } from "./write.ts"

interface Asked extends DeleteOptions {
  /** Delete what cannot be read. */
  readonly unread: boolean
}

async function askedOf(call: Call): Promise<Asked> {
  const body = await call.body()
  const sent = body.length === 0 ? undefined : decodeDeleteBody(body, mediaTypeOf(call))
  const unread = sent === undefined ? call.query.get(UNREAD) === "true" : sent[UNREAD] === true
  return { ...deleteOptions(call.query, sent), unread }
}

export async function remove(deps: Deps, call: Call): Promise<Answer> {
  const asked = await askedOf(call)
  const { resource } = call
  if (resource.kind === "Namespace" && !asked.unread) refuseImmortal(call.name)
  const ref = refOf(call)
  const gone = asked.unread
    ? await removeUnread(deps, call, asked)
    : await removeOne(deps, { resource, ref, asked })
  if (gone === undefined) throw notFound(subjectOf(call))
  return { code: 200, object: gone.remains ?? success(call, gone.uid) }
}

const success = ({ resource, name }: Call, uid: string | undefined) => ({
  kind: "Status",
  apiVersion: "v1",
  metadata: {},
  status: "Success",
  details: {
    name,
    ...(resource.group ? { group: resource.group } : {}),
    kind: resource.plural,
    ...(uid ? { uid } : {}),
  },
})

interface Gone {
  readonly uid: string | undefined
  /** The object, where it waits for something before it goes. */
  readonly remains?: KubeObject
}

/** Only what does not open may go this way. Throws 422 for what does. */
async function removeUnread(
  { registry }: Deps,
  { resource, ...call }: Call,
  { dryRun }: Asked,
): Promise<Gone | undefined> {
  const ref = { namespace: call.namespace, name: call.name }
  try {
    if ((await registry.get(resource, ref)) === undefined) return undefined
  } catch (error) {
    if (!isUnreadable(error)) throw error
    const revision = await registry.revisionOf(resource, ref)
    if (revision === undefined) return undefined
    if (!dryRun) await registry.remove({ key: storageKey(resource, ref), revision })
    return { uid: undefined }
  }
  const detail =
    "is exclusively used to delete corrupt object(s), try again by removing this option"
  throw invalid({ group: "meta.k8s.io", kind: "DeleteOptions" }, [
    fieldError("Invalid", { field: UNREAD, value: true, detail }),
  ])
}

interface One {
  readonly resource: StoredResource
  readonly ref: Ref
  readonly asked: Pick<DeleteOptions, "preconditions" | "propagation" | "dryRun">
}

/** Undefined where there is nothing. Throws 409 where a precondition does not hold. */
async function removeOne(deps: Deps, one: One): Promise<Gone | undefined> {
  for (let attempt = 1; ; attempt++) {
    const stored = await deps.registry.get(one.resource, one.ref)
    if (stored === undefined) return undefined
    checkPreconditions(one, stored.object)
    try {
      return await removeStored(deps, one, stored)
    } catch (error) {
      if (!isKnown(error, "Conflict") || attempt === CONFLICTS_MAX) throw error
    }
  }
}

function checkPreconditions({ resource, ref, asked }: One, { metadata }: KubeObject): void {
  const { uid, resourceVersion } = asked.preconditions
  const refuse = (what: string, why: string) =>
    conflict({ resource: resource.kind, name: ref.name }, `the ${what} in the precondition ${why}`)
  if (uid !== undefined && uid !== metadata.uid)
    throw refuse(
      "UID",
      `(${uid}) does not match the UID in record (${metadata.uid}). ` +
        "The object might have been deleted and then recreated",
    )
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion)
    throw refuse(
      "ResourceVersion",
      `(${resourceVersion}) does not match the ResourceVersion in record ` +
        `(${metadata.resourceVersion}). The object might have been modified`,
    )
}

const COLLECTORS = { Orphan: "orphan", Foreground: "foregroundDeletion" } as const

async function removeStored(deps: Deps, { asked }: One, stored: Stored): Promise<Gone> {
  const { object } = stored
  const { uid } = object.metadata
  const marked = mark(object, deps.now())
  const waits = !isReleased(marked)
  if (waits) {
    const isNew = !object.metadata.deletionTimestamp
    if (!isNew) return { uid, remains: object }
    if (asked.dryRun) return { uid, remains: asStored(marked, stored.revision) }
    return { uid, remains: await deps.registry.replace(stored, marked) }
  }
  const revision = asked.dryRun ? stored.revision : await deps.registry.remove(stored)
  const { propagation } = asked
  if (propagation !== "Orphan" && propagation !== "Foreground") return { uid }
  const finalizers = [COLLECTORS[propagation]]
  const shown = { ...marked, metadata: { ...marked.metadata, finalizers } }
  return { uid, remains: asStored(shown, revision) }
}

/** The object as one that is being deleted. */
function mark(object: KubeObject, now: Date): KubeObject {
  if (object.metadata.deletionTimestamp) return object
  const isNamespace = object.kind === "Namespace"
  const metadata = {
    ...object.metadata,
    deletionTimestamp: toTime(now),
    ...(isNamespace ? {} : { deletionGracePeriodSeconds: 0 }),
  }
  if (!isNamespace) return { ...object, metadata }
  const status = isRecord(object.status) ? object.status : {}
  return { ...object, metadata, status: { ...status, phase: "Terminating" } }
}

/** Deletes that run at once, so that they share commits. */
const AT_ONCE = 50

/** Throws as soon as one cannot be deleted. What is gone already is passed over. */
export async function removeAll(
  deps: Deps,
  { refs, ...of }: Omit<One, "ref"> & { readonly refs: readonly Ref[] },
): Promise<void> {
  for (let done = 0; done < refs.length; done += AT_ONCE)
    await Promise.all(
      refs.slice(done, done + AT_ONCE).map((ref) => removeOne(deps, { ...of, ref })),
    )
}

export async function removeCollection(deps: Deps, call: Call): Promise<Answer> {
  const { resource } = call
  const options = listOptions(call.query)
  const asked = await askedOf(call)
  const selection = selectionOf(resource, options)
  const listed = await listSelected(deps, call, { options, selection })
  const refs = listed.items.map(({ metadata: { namespace, name = "" } }) =>
    resource.namespaced ? { namespace, name } : { name },
  )
  await removeAll(deps, { resource, refs, asked })
  return { code: 200, object: toList(resource, listed) }
}
