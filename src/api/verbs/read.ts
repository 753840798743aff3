/** Reading: one object, and lists with their pages, selectors and revisions. */

import { isKnown } from "../../errors.ts"
import type { KubeObject } from "../../format/object.ts"
import type { Registry } from "../../registry/registry.ts"
import { storageKey } from "../../registry/resource.ts"
import { isUnreadable } from "../../registry/view.ts"
import type { Unreadable } from "../../rotation/operation.ts"
import { type Call, type Deps, refOf, subjectOf } from "./call.ts"
import type { Answer, ObjectList } from "../answer/respond.ts"
import {
  type Continuation,
  decodeContinue,
  encodeContinue,
  expiredContinue,
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
  const { object, isKept } = stored
  return { code: 200, object, ...(isKept && { isKept }) }
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
  /** What is among them and does not open: none, unless it was to be left out. */
  readonly unreadable: readonly Unreadable[]
}

/** Kubernetes' name of the wish to do without what cannot be read. It has it for deletes alone; here lists take it too. */
export const UNREAD = "ignoreStoreReadErrorWithClusterBreakingPotential"

export async function list(deps: Deps, call: Call): Promise<Answer> {
  const options = listOptions(call.query)
  const selection = selectionOf(call.resource, options)
  const leavesOut = call.query.get(UNREAD) === "true"
  const listed = await listSelected(deps, call, { options, selection, leavesOut })
  return { code: 200, object: toList(call.resource, listed), warnings: warningsOf(listed) }
}

/** The number comes first: a header has an end. */
function warningsOf({ unreadable }: Listed): string[] {
  const { length } = unreadable
  if (length === 0) return []
  const left =
    length === 1 ? "1 object does not open and is" : `${length} objects do not open and are`
  return [`${left} left out`, ...unreadable.map(({ why }) => why)]
}

export const toList = (
  resource: StoredResource,
  { items, revision, unreadable: _, ...rest }: Listed,
): ObjectList =>
  listOf(
    { apiVersion: apiVersionOf(resource), listKind: resource.listKind },
    { items, metadata: { resourceVersion: String(revision), ...rest } },
  )

interface Asked {
  readonly options: ListOptions
  readonly selection: Selection
  /** See {@link UNREAD}. */
  readonly leavesOut?: boolean
}
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
    return { after, revision: revision < 0 ? undefined : revision }
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
  { selection, revision, leavesOut }: Asked & { revision: number | undefined },
): Promise<Listed> {
  const at = revision ?? (await registry.revision())
  const ref = { namespace, name: selection.name ?? "" }
  try {
    const stored = await registry.get(resource, ref, at)
    const isIn = stored !== undefined && selection.matches(stored.object)
    return { items: isIn ? [stored.object] : [], revision: at, unreadable: [] }
  } catch (error) {
    if (leavesOut !== true || !isUnreadable(error)) throw error
    const unreadable = [{ key: storageKey(resource, ref), why: error.message }]
    return { items: [], revision: at, unreadable }
  }
}

/** With a selector a page is filled from as many pages of the store as it takes. */
async function listPages(
  { registry }: Deps,
  { resource, namespace }: Where,
  { options: { limit }, selection, leavesOut = false, from }: Asked & { from: From },
): Promise<Listed> {
  const found: KubeObject[] = []
  const unreadable: Unreadable[] = []
  let { after, revision } = from
  for (;;) {
    const page = await registry.list(resource, {
      namespace,
      leavesOut,
      ...(after === undefined ? {} : { after }),
      ...(limit > 0 ? { limit } : {}),
      ...(revision === undefined ? {} : { revision }),
    })
    revision = page.revision
    const unopened = [...page.unreadable]
    let left = page.items.length + unopened.length + page.remaining
    for (const { object, key } of page.items) {
      while (unopened[0] !== undefined && unopened[0].key < key) {
        unreadable.push(...unopened.splice(0, 1))
        left--
      }
      left--
      if (!selection.matches(object)) continue
      found.push(object)
      if (found.length !== limit || left === 0) continue
      const prefix = storageKey(resource, { namespace, name: "" })
      return {
        items: found,
        unreadable,
        revision,
        continue: encodeContinue({ prefix, lastKey: key, revision }),
        ...(selection.empty ? { remainingItemCount: left } : {}),
      }
    }
    unreadable.push(...unopened)
    if (page.remaining === 0) return { items: found, unreadable, revision }
    after = page.last
  }
}
