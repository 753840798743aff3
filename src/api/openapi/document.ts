/** OpenAPI v3 of what is served: the index of documents and one document for each group version, with all that
 *  kubectl looks for: kinds of operations, and that writes take fieldValidation. And an OpenAPI v2 without definitions. */

import { type Document, KUBERNETES_VERSION, makeDocument } from "../kinds/discovery.ts"
import { PATCH_TYPES } from "../patch/patch.ts"
import { MEDIA_TYPES } from "../request/negotiate.ts"
import {
  apiVersionOf,
  isStored,
  RESOURCES,
  type Resource,
  rootPathOf,
  type Verb,
} from "../kinds/resources.ts"
import { componentSchemas, gvkOf, type Schema, schemaRef } from "./schemas.ts"

interface Operation {
  readonly method: "get" | "post" | "put" | "patch" | "delete"
  readonly action: string
  /** Names of query parameters. */
  readonly query: readonly string[]
}

const WRITE = ["dryRun", "fieldManager", "fieldValidation"] as const
const DELETE = ["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"] as const
const LIST = [
  "allowWatchBookmarks",
  "continue",
  "fieldSelector",
  "labelSelector",
  "limit",
  "resourceVersion",
  "resourceVersionMatch",
  "sendInitialEvents",
  "timeoutSeconds",
  "watch",
] as const

// biome-ignore format: a table
const COLLECTION: Partial<Record<Verb, Operation>> = {
  list:             { method: "get",    action: "list",             query: LIST },
  create:           { method: "post",   action: "post",             query: WRITE },
  deletecollection: { method: "delete", action: "deletecollection", query: [...LIST, ...DELETE] },
}
// biome-ignore format: a table
const ITEM: Partial<Record<Verb, Operation>> = {
  get:    { method: "get",    action: "get",    query: [] },
  update: { method: "put",    action: "put",    query: WRITE },
  patch:  { method: "patch",  action: "patch",  query: [...WRITE, "force"] },
  delete: { method: "delete", action: "delete", query: DELETE },
}

const BOOLEANS: readonly string[] = [
  "allowWatchBookmarks",
  "force",
  "orphanDependents",
  "sendInitialEvents",
  "watch",
]
const INTEGERS: readonly string[] = ["gracePeriodSeconds", "limit", "timeoutSeconds"]

const typeOf = (parameter: string): string =>
  BOOLEANS.includes(parameter) ? "boolean" : INTEGERS.includes(parameter) ? "integer" : "string"

const queryParameter = (name: string): Schema => ({
  name,
  in: "query",
  schema: { type: typeOf(name), uniqueItems: true },
})

const pathParameter = (name: string): Schema => ({
  name,
  in: "path",
  required: true,
  schema: { type: "string", uniqueItems: true },
})

const content = (schema: Schema, types: readonly string[]): Schema =>
  Object.fromEntries(types.map((type) => [type, { schema }]))

function bodyOf({ group, kind }: Resource, { method }: Operation): Schema {
  if (method === "post" || method === "put")
    return { requestBody: { content: content(schemaRef(kind, group), ["*/*"]), required: true } }
  if (method === "patch")
    return { requestBody: { content: content({ type: "object" }, PATCH_TYPES), required: true } }
  if (method === "delete")
    return { requestBody: { content: content(schemaRef("DeleteOptions", group), ["*/*"]) } }
  return {}
}

function operation(resource: Resource, of: Operation): [string, Schema] {
  const { group, kind, listKind } = resource
  const returned = of.action === "list" ? listKind : of.method === "delete" ? "Status" : kind
  const status = of.method === "post" ? "201" : "200"
  return [
    of.method,
    {
      parameters: of.query.map(queryParameter),
      ...bodyOf(resource, of),
      responses: {
        [status]: {
          description: status === "201" ? "Created" : "OK",
          content: content(schemaRef(returned, group), MEDIA_TYPES),
        },
      },
      "x-kubernetes-action": of.action,
      "x-kubernetes-group-version-kind": gvkOf(resource),
    },
  ]
}

function pathItem(
  resource: Resource,
  verbs: readonly Verb[],
  table: Partial<Record<Verb, Operation>>,
  parameters: readonly string[],
): Schema {
  const operations = verbs.flatMap((verb) => table[verb] ?? [])
  return {
    ...Object.fromEntries(operations.map((of) => operation(resource, of))),
    parameters: [...parameters.map(pathParameter), queryParameter("pretty")],
  }
}

function pathsOf(resource: Resource): [string, Schema][] {
  const { plural, verbs, namespaced } = resource
  const root = rootPathOf(resource)
  const collection = namespaced ? `${root}/namespaces/{namespace}/${plural}` : `${root}/${plural}`
  const scope = namespaced ? ["namespace"] : []
  const paths: [string, Schema][] = [[collection, pathItem(resource, verbs, COLLECTION, scope)]]
  if (namespaced) paths.push([`${root}/${plural}`, pathItem(resource, ["list"], COLLECTION, [])])
  if (!isStored(resource)) return paths
  const item = `${collection}/{name}`
  paths.push([item, pathItem(resource, verbs, ITEM, ["name", ...scope])])
  for (const subresource of resource.subresources)
    paths.push([
      `${item}/${subresource.name}`,
      pathItem(resource, subresource.verbs, ITEM, ["name", ...scope]),
    ])
  return paths
}

const INFO = { title: "Kubernetes", version: KUBERNETES_VERSION } as const

function makeOpenApi(groupVersion: string): Document {
  const resources = RESOURCES.filter((resource) => apiVersionOf(resource) === groupVersion)
  const document = {
    openapi: "3.0.0",
    info: INFO,
    paths: Object.fromEntries(resources.flatMap(pathsOf)),
    components: { schemas: componentSchemas(groupVersion) },
  }
  return makeDocument("application/json", JSON.stringify(document))
}

/** By the path below /openapi/v3/: `api/v1`, `apis/authorization.k8s.io/v1`. */
export const OPENAPI_DOCUMENTS: ReadonlyMap<string, Document> = new Map(
  [...new Set(RESOURCES.map(rootPathOf))].map((path) => [
    path.slice(1),
    makeOpenApi(path.replace(/^\/apis?\//, "")),
  ]),
)

/** `GET /openapi/v3`; the addresses name the documents' hashes, so that each may be cached for ever. */
export const OPENAPI_INDEX: Document = makeDocument(
  "text/plain; charset=utf-8",
  JSON.stringify({
    paths: Object.fromEntries(
      [...OPENAPI_DOCUMENTS].map(([path, { etag }]) => [
        path,
        { serverRelativeURL: `/openapi/v3/${path}?hash=${etag.slice(1, -1)}` },
      ]),
    ),
  }),
)

const V2_JSON = makeDocument(
  "application/json",
  JSON.stringify({ swagger: "2.0", info: INFO, paths: {} }),
)
/** `swagger` (1) and `info` (2) with `title` (1) and `version` (2): lengths below 128, so bytes and text are the same. */
const V2_PROTOBUF = makeDocument(
  "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
  field(1, "2.0") + field(2, field(1, INFO.title) + field(2, INFO.version)),
)

function field(number: number, text: string): string {
  return String.fromCharCode((number << 3) | 2, text.length) + text
}

/** `GET /openapi/v2`. kubectl asks for it before it sends a List, and checks the items of which it finds a definition: with none
 *  the server's own check, of each item as it is written, is the only one. */
export const openApiV2 = (accept = ""): Document =>
  accept.includes("protobuf") ? V2_PROTOBUF : V2_JSON
