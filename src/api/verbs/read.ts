/** Reading: one object, and lists with their pages, selectors and revisions. */

import { isKnown } from "../../errors.ts"
import type { KubeObject } from "../../format/object.ts"
import type { Registry } from "../../registry/registry.ts"
import { storageKey } from "../../registry/resource.ts"
import { type Call, type Deps, refOf, subjectOf } from "./call.ts"
import type { Answer, ObjectList } from "../answer/respond.ts"
import {
  type Continuation,
  decodeContinue,
  encodeContinue,
  expiredContinue,
  INCONSISTENT,
} from "../request/continue.ts"
import { tooLarge } from "../answer/failures.ts"
import { parseFieldSelector } from "../request/field-selector.ts"
import { parseLabelSelector } from "../request/label-selector.ts"
import { type ListOptions, listOptions, revisionOf } from "../request/options.ts"
import { apiVersionOf, type StoredResource } from "../kinds/resources.ts"
import { listOf } from "../answer/serialize.ts"
import { badRequest, notFound } from "../status.ts"

export async function get({ registry }: Deps, call: Call): Promise<Answer> {
  await requireRevision(registry, revisionOf(call.query.get("resourceVersion") ?? ""))
  const stored = await registry.get(call.resource, refOf(call))
  if (stored === undefined) throw notFound(subjectOf(call))
  return { code: 200, object: stored.object, isShared: true }
}

/** Throws 504 where the store has not reached `revision`; what is newer is as good. */
export async function requireRevision(
  registry: Registry,
  wanted: number | undefined,
): Promise<void> {
  if (wanted === undefined) return
  const current = await registry.revision()
  if (wanted > current) throw tooLarge({ wanted, current })
}

/** What a list or watch lets through. */
export interface Selection {
  readonly empty: boolean
  /** The only name that can match. */
  readonly name: string | undefined
  matches(object: KubeObject): boolean
}

/** Throws 400. */
export function selectionOf(
  resource: StoredResource,
  options: Pick<ListOptions, "labelSelector" | "fieldSelector">,
): Selection {
  const labels = parseLabelSelector(options.labelSelector)
  const fields = parseFieldSelector(resource, options.fieldSelector)
  return {
    empty: labels.empty && fields.empty,
    name: fields.name,
    matches: (object) => labels.matches(object.metadata.labels) && fields.matches(object),
  }
}

export interface Listed {
  readonly items: readonly KubeObject[]
  readonly revision: number
  readonly continue?: string
  readonly remainingItemCount?: number
}

export async function list(deps: Deps, call: Call): Promise<Answer> {
  const options = listOptions(call.query)
  const selection = selectionOf(call.resource, options)
  const listed = await listSelected(deps, call, { options, selection })
  return { code: 200, object: toList(call.resource, listed) }
}

export const toList = (
  resource: StoredResource,
  { items, revision, ...rest }: Listed,
): ObjectList =>
  listOf(
    { apiVersion: apiVersionOf(resource), listKind: resource.listKind },
    { items, metadata: { resourceVersion: String(revision), ...rest } },
  )

type Asked = { readonly options: ListOptions; readonly selection: Selection }
type Where = Pick<Call, "resource" | "namespace">

/** Throws 400, 410, 504. */
export async function listSelected(deps: Deps, where: Where, asked: Asked): Promise<Listed> {
  const { options, selection } = asked
  const from = await start(deps, where, options)
  const isOne = selection.name !== undefined && from.after === undefined
  if (isOne && (where.namespace !== undefined || !where.resource.namespaced))
    return listOne(deps, where, { ...asked, revision: from.revision })
  try {
    return await listPages(deps, where, { ...asked, from })
  } catch (error) {
    const isContinued = options.continue !== ""
    if (isContinued && isKnown(error, "Compacted"))
      throw expiredContinue(prefixOf(where), options.continue)
    if (isKnown(error, "FutureRevision") && from.revision !== undefined)
      throw tooLarge({ wanted: from.revision, current: await deps.registry.revision() })
    throw error
  }
}

interface From {
  readonly after?: string
  /** Undefined: the newest. */
  readonly revision: number | undefined
}

async function start({ registry }: Deps, where: Where, options: ListOptions): Promise<From> {
  if (options.continue !== "") {
    if (options.resourceVersion !== "" && options.resourceVersion !== "0")
      throw badRequest("specifying resource version is not allowed when using continue")
    const { after, revision }: Continuation = decodeContinue(prefixOf(where), options.continue)
    return { after, revision: revision === INCONSISTENT ? undefined : revision }
  }
  const revision = revisionOf(options.resourceVersion)
  const { resourceVersionMatch: match, limit } = options
  // A page that names a revision means exactly that one, unless it says otherwise: Kubernetes' older rule.
  if (revision !== undefined && (match === "Exact" || (match === "" && limit > 0)))
    return { revision }
  await requireRevision(registry, revision)
  return { revision: undefined }
}

const prefixOf = ({ resource, namespace }: Where): string =>
  storageKey(resource, { namespace, name: "" })

/** A list that one name can be in is a get. */
async function listOne(
  { registry }: Deps,
  { resource, namespace }: Where,
  { selection, revision }: Asked & { revision: number | undefined },
): Promise<Listed> {
  const at = revision ?? (await registry.revision())
  const stored = await registry.get(resource, { namespace, name: selection.name ?? "" }, at)
  const isIn = stored !== undefined && selection.matches(stored.object)
  return { items: isIn ? [stored.object] : [], revision: at }
}

/** With a selector a page is filled from as many pages of the store as it takes. */
async function listPages(
  { registry }: Deps,
  { resource, namespace }: Where,
  { options: { limit }, selection, from }: Asked & { from: From },
): Promise<Listed> {
  const found: KubeObject[] = []
  let { after, revision } = from
  for (;;) {
    const page = await registry.list(resource, {
      namespace,
      ...(after === undefined ? {} : { after }),
      ...(limit > 0 ? { limit } : {}),
      ...(revision === undefined ? {} : { revision }),
    })
    revision = page.revision
    let left = page.items.length + page.remaining
    for (const { object, key } of page.items) {
      left--
      after = key
      if (!selection.matches(object)) continue
      found.push(object)
      if (found.length !== limit || left === 0) continue
      const prefix = storageKey(resource, { namespace, name: "" })
      return {
        items: found,
        revision,
        continue: encodeContinue({ prefix, lastKey: key, revision }),
        ...(selection.empty ? { remainingItemCount: left } : {}),
      }
    }
    if (page.remaining === 0) return { items: found, revision }
  }
}
