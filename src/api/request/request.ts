/** What a request asks for, read from its method and URL alone: Kubernetes' RequestInfo. Whether there is such a resource,
 *  and who may ask, is decided later and elsewhere. */

import { findResource, type Resource, type Verb } from "../kinds/resources.ts"
import { readBoolean } from "./options.ts"
import { badRequest, genericFailure, methodNotAllowed } from "../status.ts"

/** The words of an authorization: what the path says, served or not. */
export interface ResourcePath {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly namespace: string | undefined
  readonly name: string | undefined
  readonly subresource: string | undefined
  /** The old form of a watch: `/api/v1/watch/…`. */
  readonly isWatchPath: boolean
}

export interface RequestInfo {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  /** A resource's verb, or the method in small letters. */
  readonly verb: string
  /** Undefined where the path is no resource's. */
  readonly target: ResourcePath | undefined
}

const NO_QUERY = new URLSearchParams()

/** Throws 400 where the URL is not one. */
export function readRequest(method: string, url: string): RequestInfo {
  const mark = url.indexOf("?")
  const path = mark < 0 ? url : url.slice(0, mark)
  const query = mark < 0 ? NO_QUERY : new URLSearchParams(url.slice(mark + 1))
  const target = readTarget(path)
  const verb = target === undefined ? method.toLowerCase() : verbOf(method, target, query)
  return { method, path, query, verb, target }
}

function readTarget(path: string): ResourcePath | undefined {
  const isCore = path.startsWith("/api/")
  if (!isCore && !path.startsWith("/apis/")) return undefined
  const parts = path.split("/").slice(2).map(decoded)
  if (parts.at(-1) === "") parts.pop()
  const [group, version, ...rest] = isCore ? ["", ...parts] : parts
  if (group === undefined || version === undefined || rest.length === 0) return undefined
  const isWatchPath = rest[0] === "watch"
  if (isWatchPath) rest.shift()
  const inNamespace = rest[0] === "namespaces" && rest.length > 2 && !NAMESPACE_PARTS.has(rest[2])
  const namespace = inNamespace ? checked("namespace", rest[1]) : undefined
  const [plural = "", name, subresource, ...more] = inNamespace ? rest.slice(2) : rest
  const below = more.length === 0 ? subresource : [subresource, ...more].join("/")
  return {
    group,
    version,
    plural,
    namespace,
    name: checked("resource name", name),
    subresource: below,
    isWatchPath,
  }
}

/** `/api/v1/namespaces/x/status` is a namespace's subresource, not what lies in it. */
const NAMESPACE_PARTS: ReadonlySet<string | undefined> = new Set(["status", "finalize"])

function decoded(part: string): string {
  if (!part.includes("%")) return part
  try {
    return decodeURIComponent(part)
  } catch {
    throw badRequest(`invalid URL escape ${JSON.stringify(part)}`)
  }
}

/** Throws 400: a storage key is made of it. */
function checked(what: string, name: string | undefined): string | undefined {
  if (name === undefined) return undefined
  const why =
    name === "." || name === ".."
      ? `may not be '${name}'`
      : name.includes("/")
        ? "may not contain '/'"
        : name.includes("%")
          ? "may not contain '%'"
          : undefined
  if (why === undefined) return name
  throw badRequest(`invalid ${what} ${JSON.stringify(name)}: [${why}]`)
}

function verbOf(
  method: string,
  { name, isWatchPath }: ResourcePath,
  query: URLSearchParams,
): string {
  if (isWatchPath) return "watch"
  switch (method) {
    case "GET":
    case "HEAD":
      if (name !== undefined) return "get"
      return readBoolean(query, "watch") ? "watch" : "list"
    case "POST":
      return "create"
    case "PUT":
      return "update"
    case "PATCH":
      return "patch"
    case "DELETE":
      return name === undefined ? "deletecollection" : "delete"
    default:
      return method.toLowerCase()
  }
}

const ON_ITEM: readonly string[] = ["get", "update", "patch", "delete"]
/** What a path without a namespace does for a resource that has them. */
const OVER_NAMESPACES: readonly string[] = ["list", "watch"]

/** The resource that is served there. Throws 404, and 405 where it does not take the method. */
export function route({ method, verb }: RequestInfo, target: ResourcePath): Resource {
  const resource = findResource(target, target.plural)
  if (resource === undefined) throw genericFailure(404)
  const { namespace, name, subresource, isWatchPath } = target
  const isItem = name !== undefined
  if (namespace !== undefined && !resource.namespaced) throw genericFailure(404)
  const overNamespaces = resource.namespaced && namespace === undefined
  if (overNamespaces && isItem) throw genericFailure(404)
  const verbs: readonly Verb[] | undefined =
    subresource === undefined
      ? resource.verbs
      : resource.subresources.find((row) => row.name === subresource)?.verbs
  if (verbs === undefined || (isWatchPath && subresource !== undefined)) throw genericFailure(404)
  const fits =
    method !== "HEAD" &&
    (!isWatchPath || method === "GET") &&
    (isWatchPath || isItem === ON_ITEM.includes(verb)) &&
    (!overNamespaces || OVER_NAMESPACES.includes(verb))
  if (!fits || !(verbs as readonly string[]).includes(verb)) throw methodNotAllowed()
  return resource
}
