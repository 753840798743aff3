/** From a storage key to the resource that lies there, and whether an EncryptionConfiguration's words cover it. */

/** What the registry must know of a kind; the API's table of resources has the rest. */
export interface Kind {
  /** Where its objects lie, e.g. `/registry/secrets/`. */
  readonly storagePrefix: string
}

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

/** Whether one of `resources` (names, `*.<group>`, `*.` for the core group, `*.*`) covers what lies at `key`. */
export function covers(resources: readonly string[], key: string): boolean {
  const resource = resourceOfKey(key)
  if (resource === undefined) return false
  const dot = resource.indexOf(".")
  const group = dot < 0 ? "" : resource.slice(dot + 1)
  return resources.some(
    (entry) =>
      entry === "*.*" ||
      entry === `*.${group}` ||
      entry === resource ||
      (dot < 0 && entry.startsWith(`${resource}.`)),
  )
}
