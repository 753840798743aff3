/** What lies in a namespace, of kinds that keyturn serves and of kinds that it does not. */
import type { Store } from "../store/store.ts"
import { resourceOfKey } from "./resource.ts"

export interface Contents {
  /** As an EncryptionConfiguration names it: `secrets`, `widgets.example.com`. */
  readonly resource: string
  readonly count: number
}

const ROOT = "/registry/"
/** Above every key that a prefix begins, for keys are ASCII. */
const BEYOND = "\u00ff"

/** Kinds without namespaces, whose objects may bear a namespace's name. */
const CLUSTER: ReadonlySet<string> = new Set(["namespaces", "minions"])

/** Jumps from kind to kind, so it costs a few reads for each kind and none for each object. */
export async function contentsOf(store: Store, namespace: string): Promise<Contents[]> {
  const found: Contents[] = []
  for await (const prefix of prefixes(store, ROOT)) {
    if (CLUSTER.has(prefix.slice(ROOT.length, -1))) continue
    const direct = await countIn(store, prefix, namespace)
    if (direct) found.push(direct)
    if (!isTwofold(prefix)) continue
    for await (const below of prefixes(store, prefix)) {
      const deep = await countIn(store, below, namespace)
      if (deep) found.push(deep)
    }
  }
  return found
}

/** `/registry/<group>/<resource>/<namespace>/<name>` of custom resources, and `/registry/services/specs/…`. */
const isTwofold = (prefix: string): boolean => prefix.includes(".") || prefix === `${ROOT}services/`

async function countIn(
  store: Store,
  prefix: string,
  namespace: string,
): Promise<Contents | undefined> {
  const at = `${prefix}${namespace}/`
  const count = await store.count(at)
  return count === 0 ? undefined : { resource: resourceOfKey(`${at}x`) ?? at, count }
}

async function* prefixes(store: Store, root: string): AsyncGenerator<string> {
  let after = root
  for (;;) {
    const { entries } = await store.list({ prefix: root, after, limit: 1 })
    const key = entries[0]?.key
    if (key === undefined) return
    const slash = key.indexOf("/", root.length)
    if (slash > 0) yield key.slice(0, slash + 1)
    after = slash > 0 ? key.slice(0, slash + 1) + BEYOND : key
  }
}
