/** JSON Patch (RFC 6902) as kube-apiserver applies it, which is looser than the RFC: "replace" adds a key that an object
 *  has not, "copy" of such a key copies null, and negative indices count from the end. */

import { isDeepStrictEqual } from "node:util"
import { isRecord, setOwn } from "../../format/schema.ts"
import { DEPTH_MAX } from "../text/go-json.ts"

export interface Operation {
  readonly op?: unknown
  readonly path?: unknown
  readonly from?: unknown
  readonly value?: unknown
}

/** An operation that does not apply. Clients are told only that their request was wrong. */
export class PatchMisfit extends Error {}

/** What all copies of one patch may add, in characters of JSON: Kubernetes' limit. Copies of copies grow twofold at each step. */
const COPIED_MAX = 3 * 1024 * 1024

type Container = Record<string, unknown> | unknown[]

const isContainer = (value: unknown): value is Container => isRecord(value) || Array.isArray(value)

/** A patched copy. In it the objects on the operations' paths have their keys in order, as Go's maps are written, and all
 *  others are as they were. Throws {@link PatchMisfit}. */
export function applyJsonPatch(document: unknown, operations: readonly Operation[]): unknown {
  const patching = new Patching(structuredClone(document))
  for (const operation of operations) patching.apply(operation)
  return patching.result()
}

class Patching {
  #root: unknown
  #copied = 0
  readonly #touched = new Set<object>()

  constructor(document: unknown) {
    this.#root = document
  }

  apply({ op, path, from, value }: Operation): void {
    switch (op) {
      case "add":
        return add(this.#find(path), clone(value))
      case "remove":
        return remove(this.#find(path))
      case "replace":
        if (path !== "") return replace(this.#find(path), clone(value))
        if (!isContainer(value)) throw new PatchMisfit("a whole document is an object or an array")
        this.#root = clone(value)
        return
      case "move": {
        const source = this.#find(from)
        const moved = get(source)
        remove(source)
        return add(this.#find(path), moved)
      }
      case "copy":
        return add(this.#find(path), this.#copy(get(this.#find(from))))
      case "test": {
        const seen = path === "" ? this.#root : get(this.#find(path))
        if (isDeepStrictEqual(seen ?? null, value ?? null)) return
        throw new PatchMisfit("the value is another one")
      }
      default:
        throw new PatchMisfit("no such operation")
    }
  }

  #copy(value: unknown): unknown {
    this.#copied += JSON.stringify(bounded(value) ?? null).length
    if (this.#copied > COPIED_MAX) throw new PatchMisfit(`copies of more than ${COPIED_MAX}`)
    return clone(value)
  }

  result(): unknown {
    return this.#inOrder(bounded(this.#root))
  }

  /** The container that holds what `path` names, and the name in it. */
  #find(path: unknown): Place {
    const [first, ...parts] = typeof path === "string" ? path.split("/") : []
    const last = parts.pop()
    if (first === undefined || last === undefined) throw new PatchMisfit("not a path")
    let container = this.#enter(this.#root)
    for (const part of parts) container = this.#enter(get({ container, key: unescape(part) }))
    return { container, key: unescape(last) }
  }

  #enter(value: unknown): Container {
    if (!isContainer(value)) throw new PatchMisfit("the path leads through what is no container")
    this.#touched.add(value)
    return value
  }

  #inOrder(value: unknown): unknown {
    if (!isContainer(value) || !this.#touched.has(value)) return value
    if (Array.isArray(value)) return value.map((item) => this.#inOrder(item))
    const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
    return Object.fromEntries(entries.map(([key, item]) => [key, this.#inOrder(item)]))
  }
}

/** The value, which moves of moves may have made deeper than any text is. What walks through it would not come back. */
function bounded(value: unknown): unknown {
  let [depth, level] = [0, [value].filter(isContainer)]
  for (; level.length > 0; depth++)
    level = level.flatMap((container) => Object.values(container).filter(isContainer))
  if (depth > DEPTH_MAX) throw new PatchMisfit(`deeper than ${DEPTH_MAX}`)
  return value
}

interface Place {
  readonly container: Container
  readonly key: string
}

const unescape = (part: string): string => part.replaceAll("~1", "/").replaceAll("~0", "~")
const clone = (value: unknown): unknown => structuredClone(value ?? null)

function get({ container, key }: Place): unknown {
  if (Array.isArray(container)) return container[indexIn(key, container.length)]
  return Object.hasOwn(container, key) ? container[key] : undefined
}

function add({ container, key }: Place, value: unknown): void {
  if (!Array.isArray(container)) return setOwn(container, key, value)
  if (key === "-") container.push(value)
  else container.splice(indexIn(key, container.length + 1), 0, value)
}

function replace({ container, key }: Place, value: unknown): void {
  if (Array.isArray(container)) container[indexIn(key, container.length)] = value
  else setOwn(container, key, value)
}

function remove({ container, key }: Place): void {
  if (Array.isArray(container)) container.splice(indexIn(key, container.length), 1)
  else if (Object.hasOwn(container, key)) delete container[key]
  else throw new PatchMisfit(`nothing to remove at ${key}`)
}

function indexIn(key: string, length: number): number {
  const index = /^[-+]?\d+$/.test(key) ? Number(key) : Number.NaN
  if (!(index >= -length && index < length)) throw new PatchMisfit(`not an index here: ${key}`)
  return index < 0 ? index + length : index
}
