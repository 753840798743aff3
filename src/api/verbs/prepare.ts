/** What the server itself decides about an object before it is validated: its name, uid and times on create, and on
 *  update what a client cannot change (k8s.io/apiserver/pkg/registry/rest: BeforeCreate, BeforeUpdate). */

import { randomInt, randomUUID } from "node:crypto"
import type { KubeObject, ObjectMeta } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { toTime } from "../../format/time.ts"
import { applyDefaults } from "../kinds/defaults.ts"
import type { StoredResource } from "../kinds/resources.ts"
import { StatusError } from "../status.ts"
import type { Update } from "../validation/validate.ts"

/** Without vowels and look-alikes, so that no name spells a word. */
const SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
const SUFFIX_LENGTH = 5
const GENERATED_NAME_LENGTH_MAX = 63

const generatedName = (prefix: string): string =>
  prefix.slice(0, GENERATED_NAME_LENGTH_MAX - SUFFIX_LENGTH) +
  Array.from(
    { length: SUFFIX_LENGTH },
    () => SUFFIX_LETTERS[randomInt(SUFFIX_LETTERS.length)],
  ).join("")

/** A new object, ready to be validated. `namespace`: that of the path. Throws 500 where it has a resourceVersion. */
export function prepareForCreate(
  resource: StoredResource,
  object: KubeObject,
  from: { readonly namespace?: string | undefined; readonly now: Date },
): KubeObject {
  const meta = object.metadata
  const name = meta.name || (meta.generateName ? generatedName(meta.generateName) : "")
  const { deletionTimestamp, deletionGracePeriodSeconds, ...kept } = meta
  const prepared = {
    ...object,
    metadata: {
      ...kept,
      ...(name ? { name } : {}),
      ...(resource.namespaced && from.namespace ? { namespace: from.namespace } : {}),
      uid: randomUUID(),
      creationTimestamp: toTime(from.now),
    },
  }
  return resource.kind === "Namespace" ? newNamespace(prepared) : prepared
}

/** Throws 500, as kube-apiserver does, after everything else was found right. */
export function refuseResourceVersion({ metadata }: KubeObject): void {
  if (metadata.resourceVersion)
    throw new StatusError({
      code: 500,
      message: "resourceVersion should not be set on objects to be created",
    })
}

/** Its content is deleted before it is: the finalizer `kubernetes` sees to that. A generated name gets its label
 *  here. */
function newNamespace(object: KubeObject): KubeObject {
  const spec = isRecord(object.spec) ? object.spec : {}
  const finalizers: unknown[] = Array.isArray(spec.finalizers) ? spec.finalizers : []
  const all = finalizers.includes("kubernetes") ? finalizers : [...finalizers, "kubernetes"]
  const status = { phase: "Active" }
  return applyDefaults({ ...object, spec: { ...spec, finalizers: all }, status })
}

/** What an update of `old` to `object` really stores: what only the server may change is taken from `old`. */
export function prepareForUpdate(resource: StoredResource, update: Update): KubeObject {
  const { object, old } = update
  const [{ generation, ...meta }, before] = [object.metadata, old.metadata]
  const metadata: ObjectMeta = {
    ...taken(before, "namespace", "uid", "resourceVersion", "deletionGracePeriodSeconds"),
    ...meta,
    ...taken(before, "generation", "creationTimestamp", "deletionTimestamp"),
  }
  return { ...object, metadata, ...keptParts(resource, update) }
}

const taken = (meta: ObjectMeta, ...names: (keyof ObjectMeta)[]): Partial<ObjectMeta> =>
  Object.fromEntries(
    names.filter((name) => meta[name] !== undefined).map((name) => [name, meta[name]]),
  )

/** Which of spec and status a path leaves as it was. */
function keptParts({ kind }: StoredResource, { old, subresource }: Update): Partial<KubeObject> {
  if (kind === "Node") return subresource === "status" ? { spec: old.spec } : { status: old.status }
  if (kind !== "Namespace") return {}
  if (subresource === "status") return { spec: old.spec }
  if (subresource === "finalize") return { status: old.status }
  return { spec: old.spec, status: old.status }
}
