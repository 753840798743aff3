/** The namespaces that always are, and what a namespace says to those who want to write into it. */

import { isKnown } from "../../errors.ts"
import type { Registry } from "../../registry/registry.ts"
import { step } from "../../step.ts"
import { prepareForCreate } from "./prepare.ts"
import { NAMESPACES } from "../kinds/resources.ts"
import { forbidden, notFound, type ResourceName, StatusError } from "../status.ts"

const SYSTEM_NAMESPACES = ["default", "kube-node-lease", "kube-public", "kube-system"] as const

/** kube-node-lease is not among them: Kubernetes lets it be deleted, and makes it anew. */
const IMMORTAL: readonly string[] = ["default", "kube-public", "kube-system"]

/** Makes those of the system's namespaces that are missing. */
export async function ensureNamespaces(registry: Registry, now: Date): Promise<void> {
  for (const name of SYSTEM_NAMESPACES) {
    const namespace = { kind: "Namespace", apiVersion: "v1", metadata: { name } }
    const made = prepareForCreate(NAMESPACES, namespace, { now })
    try {
      await step("namespace", () => registry.create(NAMESPACES, { name }, made))
    } catch (error) {
      if (!isKnown(error, "AlreadyExists")) throw error
    }
  }
}

/** Throws 404 where the namespace is not there, 403 where it is on its way out. */
export async function requireNamespace(
  registry: Registry,
  name: string,
  wanted: ResourceName,
): Promise<void> {
  const stored = await registry.get(NAMESPACES, { name })
  if (stored === undefined) throw notFound({ resource: NAMESPACES.plural, name })
  if (!stored.object.metadata.deletionTimestamp) return
  const why = `unable to create new content in namespace ${name} because it is being terminated`
  const refusal = forbidden(wanted, why)
  const cause = {
    reason: "NamespaceTerminating",
    message: `namespace ${name} is being terminated`,
    field: "metadata.namespace",
  }
  throw new StatusError({
    ...refusal,
    message: refusal.message,
    details: { ...refusal.details, causes: [cause] },
  })
}

/** Throws 403. */
export function refuseImmortal(name: string): void {
  if (!IMMORTAL.includes(name)) return
  throw forbidden({ resource: NAMESPACES.plural, name }, "this namespace may not be deleted")
}
