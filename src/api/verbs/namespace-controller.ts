/** The end of a namespace: what it holds is deleted first, then it goes. Each round looks again at what is there, so a crash
 *  costs nothing. What lies in it and is not served here holds it for ever, and its conditions say so. */

import { setTimeout as sleep } from "node:timers/promises"
import { isKnown } from "../../errors.ts"
import type { KubeObject } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { toTime } from "../../format/time.ts"
import type { Registry, Stored } from "../../registry/registry.ts"
import type { Contents } from "../../registry/contents.ts"
import type { Deps } from "./call.ts"
import { removeAll } from "./delete.ts"
import { EVENTS, NAMESPACES, SECRETS } from "../kinds/resources.ts"
import { finalizersOf, storeOver } from "./write.ts"

export interface ControllerParts extends Deps {
  readonly log: { warn(of: object, message: string): void }
  readonly signal: AbortSignal
}

/** How soon a namespace that something holds is looked at again. */
const AGAIN_MS = 1_000

/** Runs until `signal` aborts. */
export async function runNamespaces(parts: ControllerParts): Promise<void> {
  const { registry, signal, log } = parts
  while (!signal.aborted) {
    try {
      const { items, revision } = await registry.list(NAMESPACES, { leavesOut: true })
      const ending = items.filter(({ object }) => object.metadata.deletionTimestamp)
      const left: boolean[] = []
      for (const stored of ending) left.push(await endNamespace(parts, stored))
      await nextChange(registry, { after: revision, signal, again: left.includes(true) })
    } catch (err) {
      if (signal.aborted) return
      // The watch fell out of history: what is there is looked at again.
      if (isKnown(err, "Compacted", "SlowWatcher", "FutureRevision")) continue
      log.warn({ err }, "a namespace could not be ended; it is tried again")
      await sleep(AGAIN_MS, undefined, { signal }).catch(() => {})
    }
  }
}

/** Resolves when a namespace changed, or in time to look `again`. */
async function nextChange(
  registry: Registry,
  from: { after: number; signal: AbortSignal; again: boolean },
): Promise<void> {
  const { after, again } = from
  const signal = again ? AbortSignal.any([from.signal, AbortSignal.timeout(AGAIN_MS)]) : from.signal
  for await (const _ of registry.watch(NAMESPACES, { after, signal })) return
}

/** Whether the namespace is still there. */
export async function endNamespace(deps: Deps, stored: Stored): Promise<boolean> {
  const name = stored.object.metadata.name ?? ""
  const failure = await deleteContents(deps, name).then(
    () => undefined,
    (error: unknown) => (isKnown(error) ? error.message : Promise.reject(error)),
  )
  const contents = await deps.registry.contents(name)
  const isEmpty = contents.length === 0
  const next = isEmpty
    ? withoutOurFinalizer(stored.object)
    : withConditions(stored.object, { contents, failure, now: deps.now() })
  if (next === undefined) return true
  const call = { resource: NAMESPACES, name, subresource: isEmpty ? "finalize" : "status" }
  const written = await storeOver(deps, call, { stored, object: next, dryRun: false })
  return (
    !isEmpty ||
    finalizersOf(written.spec).length > 0 ||
    Boolean(written.metadata.finalizers?.length)
  )
}

async function deleteContents(deps: Deps, namespace: string): Promise<void> {
  const asked = { preconditions: {}, propagation: "Background", dryRun: false } as const
  for (const resource of [SECRETS, EVENTS]) {
    const { items } = await deps.registry.list(resource, { namespace })
    const refs = items.map(({ object }) => ({ namespace, name: object.metadata.name ?? "" }))
    await removeAll(deps, { resource, refs, asked })
  }
}

/** Undefined where it is gone already and others hold the namespace. */
function withoutOurFinalizer(namespace: KubeObject): KubeObject | undefined {
  const finalizers = finalizersOf(namespace.spec)
  const kept = finalizers.filter((finalizer) => finalizer !== "kubernetes")
  if (kept.length === finalizers.length && kept.length > 0) return undefined
  return { ...namespace, spec: kept.length > 0 ? { finalizers: kept } : {} }
}

interface Condition {
  readonly type: string
  readonly status: "True" | "False"
  readonly lastTransitionTime: string
  readonly reason: string
  readonly message: string
}

/** Undefined where the namespace says it already. */
function withConditions(
  namespace: KubeObject,
  seen: { contents: readonly Contents[]; failure: string | undefined; now: Date },
): KubeObject | undefined {
  const status = isRecord(namespace.status) ? namespace.status : {}
  const before = Array.isArray(status.conditions) ? status.conditions.filter(isRecord) : []
  const remaining = seen.contents.map(
    ({ resource, count }) =>
      `${resource}${resource.includes(".") ? "" : "."} has ${count} resource instances`,
  )
  const condition = (type: string, reason: string, message: string): Condition => ({
    type,
    status: "True",
    lastTransitionTime: toTime(seen.now),
    reason,
    message,
  })
  const said = [
    condition(
      "NamespaceContentRemaining",
      "SomeResourcesRemain",
      `Some resources are remaining: ${remaining.join(", ")}`,
    ),
    ...(seen.failure === undefined
      ? []
      : [
          condition(
            "NamespaceDeletionContentFailure",
            "ContentDeletionFailed",
            `Failed to delete all resource types: ${seen.failure}`,
          ),
        ]),
  ]
  const isSaid = said.every(({ type, message }) =>
    before.some((old) => old.type === type && old.message === message),
  )
  if (isSaid && before.length === said.length) return undefined
  return { ...namespace, status: { ...status, conditions: said } }
}
