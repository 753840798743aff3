/** From a storage key to the resource that lies there, and whether an EncryptionConfiguration's words cover it. */

import { includesResource } from "../config/resources.ts"

/** What the registry must know of a kind; the API's table of resources has the rest. */
export interface Kind {
  /** Where its objects lie, e.g. `/registry/secrets/`. */
  readonly storagePrefix: string
}

/** By Kubernetes' first name for Nodes. Never change it. */
export const SECRETS_PREFIX = "/registry/secrets/"
export const NODES_PREFIX = "/registry/minions/"

export interface Ref {
  /** Absent for a kind without namespaces. */
  readonly namespace?: string | undefined
  readonly name: string
}

export const storageKey = ({ storagePrefix }: Kind, { namespace, name }: Ref): string =>
  namespace === undefined ? storagePrefix + name : `${storagePrefix}${namespace}/${name}`

export const namespacePrefix = ({ storagePrefix }: Kind, namespace: string | undefined): string =>
  namespace === undefined ? storagePrefix : `${storagePrefix}${namespace}/`

/** Kinds that Kubernetes stores under another name than their resource's. */
const RENAMED: Readonly<Record<string, string>> = {
  minions: "nodes",
  "services/specs": "services",
  "services/endpoints": "endpoints",
  controllers: "replicationcontrollers",
}

/** The resource as an EncryptionConfiguration names it (`secrets`, `widgets.example.com`); undefined for keys that are not
 *  Kubernetes objects. Groups of built-in kinds do not stand in the key; such kinds match by resource alone. */
export function resourceOfKey(key: string): string | undefined {
  const [, registry, first, second] = key.split("/")
  if (registry !== "registry" || first === undefined || second === undefined) return undefined
  if (first.includes(".")) return `${second}.${first}`
  return RENAMED[`${first}/${second}`] ?? RENAMED[first] ?? first
}

/** Where its object lies: `/registry/secrets/<namespace>/<name>`; "" for kinds without namespaces. */
export function namespaceOfKey(key: string): string {
  const [, , first = "", second, ...rest] = key.split("/")
  const isTwofold = first.includes(".") || RENAMED[`${first}/${second}`] !== undefined
  const [namespace, name] = isTwofold ? rest : [second, ...rest]
  return name === undefined ? "" : (namespace ?? "")
}

/** The kinds of the core group, which `*.` covers. Of any other built-in kind a key does not show the group. */
const CORE: ReadonlySet<string> = new Set([
  "bindings",
  "componentstatuses",
  "configmaps",
  "endpoints",
  "events",
  "limitranges",
  "namespaces",
  "nodes",
  "persistentvolumeclaims",
  "persistentvolumes",
  "pods",
  "podtemplates",
  "replicationcontrollers",
  "resourcequotas",
  "secrets",
  "serviceaccounts",
  "services",
])

/** Whether an EncryptionConfiguration's list covers a resource as {@link resourceOfKey} gives it. Of a built-in kind with a
 *  group (`deployments.apps`) the resource alone has to match, and no wildcard but `*.*` reaches it: rather too little is
 *  sealed than what a kube-apiserver would not open. */
export function covers(list: readonly string[], resource: string | undefined): boolean {
  if (resource === undefined) return false
  if (CORE.has(resource) || resource.includes(".")) return includesResource(list, resource)
  return list.some((entry) => entry === "*.*" || entry.startsWith(`${resource}.`))
}
