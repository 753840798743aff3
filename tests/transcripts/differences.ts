/** Where keyturn means to answer otherwise than the recorded kube-apiserver, each with its reason. A row whose answers do not
 *  differ any more fails the run. */

import { type Exchange, isObject, type Json, type JsonObject } from "./recording.ts"

export interface Difference {
  readonly because: string
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** From what was recorded to what is expected. */
  readonly body?: (recorded: Json) => Json
}

const SERVED_RESOURCES =
  /^(?:secrets|events|namespaces|nodes|selfsubjectreviews|selfsubjectaccessreviews|selfsubjectrulesreviews)$/
const SERVED_GROUPS = ["", "authentication.k8s.io", "authorization.k8s.io"]
const SERVED_SUBRESOURCES = ["finalize", "status"]

const objects = (list: Json | undefined): JsonObject[] =>
  Array.isArray(list) ? list.filter(isObject) : []
const text = (value: Json | undefined): string => (typeof value === "string" ? value : "")

/** Of what discovery tells, the part that is served here. */
function servedOnly(recorded: Json): Json {
  if (!isObject(recorded)) return recorded
  const { items, groups, resources, ...rest } = recorded
  if (groups !== undefined)
    return {
      ...rest,
      groups: objects(groups).filter(({ name }) => SERVED_GROUPS.includes(text(name))),
    }
  if (resources !== undefined) return { ...rest, resources: objects(resources).filter(isServed) }
  const kept = objects(items).filter(
    ({ metadata }) => isObject(metadata) && SERVED_GROUPS.includes(text(metadata.name)),
  )
  return { ...rest, items: kept.map(servedGroup) }
}

const servedGroup = (group: JsonObject): JsonObject => ({
  ...group,
  versions: objects(group.versions).map((version) => ({
    ...version,
    resources: objects(version.resources).filter(isServed).map(withoutForeignSubresources),
  })),
})

function isServed({ resource, name }: JsonObject): boolean {
  const [plural = "", below] = text(resource ?? name).split("/")
  return (
    SERVED_RESOURCES.test(plural) && (below === undefined || SERVED_SUBRESOURCES.includes(below))
  )
}

function withoutForeignSubresources({ subresources, ...resource }: JsonObject): JsonObject {
  const kept = objects(subresources).filter(({ subresource }) =>
    SERVED_SUBRESOURCES.includes(text(subresource)),
  )
  return kept.length === 0 ? resource : { ...resource, subresources: kept }
}

function servedPaths(recorded: Json): Json {
  const { paths } = JSON.parse(text(recorded))
  const served = Object.entries(paths).filter(
    ([path]) => path === "api/v1" || /^apis\/auth\w+\.k8s\.io\/v1$/.test(path),
  )
  return JSON.stringify({ paths: Object.fromEntries(served) })
}

const FEWER: Difference = {
  because: "keyturn serves Secrets and the few kinds that belong to them",
  body: servedOnly,
}

const VERSION: JsonObject = {
  major: "1",
  minor: "36",
  emulationMajor: "1",
  emulationMinor: "36",
  minCompatibilityMajor: "1",
  minCompatibilityMinor: "35",
  gitVersion: "v1.36.2+keyturn-0.0.0",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "1970-01-01T00:00:00Z",
  goVersion: `node${process.versions.node}`,
  compiler: "v8",
  platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
}

const NEW_S4: JsonObject = {
  kind: "Secret",
  apiVersion: "v1",
  metadata: {
    name: "s4",
    namespace: "tr2",
    uid: "<uid>",
    resourceVersion: "<revision>",
    creationTimestamp: "2026-11-23T21:03:34Z",
    managedFields: [
      {
        manager: "unknown",
        operation: "Update",
        apiVersion: "v1",
        time: "2026-11-23T21:03:34Z",
        fieldsType: "FieldsV1",
        fieldsV1: { "f:type": {} },
      },
    ],
  },
  type: "Opaque",
}

const BUILD: Difference = {
  because: "it is another program, of another version, on another runtime",
  body: () => VERSION,
}

/** For every successful GET. */
const BY_PATH: Readonly<Record<string, Difference>> = {
  "/version": BUILD,
  "/api": FEWER,
  "/apis": FEWER,
  "/api/v1": FEWER,
  "/openapi/v3": { ...FEWER, body: servedPaths },
}

/** What a legacy `/api` tells has no kinds in it. */
const isAlike = ({ url, reqHeaders }: Exchange): boolean =>
  url === "/api" && !reqHeaders.accept?.includes("APIGroupDiscoveryList")

interface Failure {
  readonly message: string
  readonly reason: string
  readonly details?: Json
  readonly code: number
}

/** A Status, its fields in Kubernetes' order. */
const failure = ({ message, reason, details, code }: Failure): Json => ({
  kind: "Status",
  apiVersion: "v1",
  metadata: {},
  status: "Failure",
  message,
  reason,
  ...(details === undefined ? {} : { details }),
  code,
})

/** One of the Secrets under the key that was lost. */
function unreadable(name: string): Difference {
  const why =
    "no matching key was found for the provided AES transformer: <the value, and the keys>"
  const message = `/registry/secrets/tr2/${name}: ${why}`
  const details = { causes: [{ message }] }
  return {
    because: "the message names the object, the key that wrote it, and the keys that were tried",
    body: () =>
      failure({
        message: `Internal error occurred: ${message}`,
        reason: "InternalError",
        details,
        code: 500,
      }),
  }
}

/** A refused patch as it is shown here: the names of the data, without the recorded values. */
export const withoutValues = (said: string): string =>
  said.replace(/bmV3Mg==|YWRtaW4=|aGVsbG8=|!!!/g, "***")

const NO_VALUES: Difference = {
  because: "an error never holds a Secret's data, not even for who may read it: errors are logged",
  body: (recorded) => JSON.parse(withoutValues(JSON.stringify(recorded))) as Json,
}

export const BY_RECORDING: Readonly<Record<string, Difference>> = {
  "087-kubectl-patch-bad-base64 1": NO_VALUES,
  "096-kubectl-edit-invalid 2": NO_VALUES,
  "207-http-watch-future-rv": {
    because:
      "it is of a datastore that was replaced: who waits there misses all that comes up to it, so he is told to list again",
    status: 410,
    body: () =>
      failure({
        message: "too large resource version: 99999999, current: <revision>",
        reason: "Expired",
        code: 410,
      }),
  },
  "230-http-patch-finalizers-away-li3": {
    because:
      "nothing here has dependents that a garbage collector would look for: what waited for one only is gone at once",
    status: 404,
    body: () =>
      failure({
        message: 'secrets "li3" not found',
        reason: "NotFound",
        details: { name: "li3", kind: "secrets" },
        code: 404,
      }),
  },
  "254-kubectl-auth-can-i 1": {
    because: "a review is not stored, so nobody is tracked on it",
    body: (recorded) => ({ ...(isObject(recorded) ? recorded : {}), metadata: {} }),
  },
  "258-http-empty-bearer": {
    because:
      "who gives no credential may read health and version only, as where anonymous access is off",
    status: 401,
    body: () => failure({ message: "Unauthorized", reason: "Unauthorized", code: 401 }),
  },
  "272-http-readyz-verbose": {
    because: "these are keyturn's own conditions of being ready",
    body: () => "[+]ping ok\n[+]published ok\nreadyz check passed\n",
  },
  "300-http-undecryptable-list": {
    ...unreadable("s0"),
    because: "no cache stands before the store, so a list says at once what is wrong, as in 309",
    status: 500,
    headers: { "content-type": "application/json" },
  },
  "302-http-undecryptable-put": unreadable("s4"),
  "303-http-undecryptable-patch": unreadable("s4"),
  "305-http-undecryptable-delete-ignorestorereaderror": {
    because: "what cannot be read can be deleted: the recorded server has that switched off",
    status: 200,
    body: () => ({
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Success",
      details: { name: "s4", kind: "secrets" },
    }),
  },
  "306-http-undecryptable-post-same-name": {
    because: "the request before has deleted it",
    status: 201,
    body: () => NEW_S4,
  },
  "308-http-undecryptable-delete-collection": unreadable("s0"),
  "309-kubectl-undecryptable-get": unreadable("s0"),
  "314-http-anonymous-off-version-no-token": {
    because: "the version is told to everybody, as where anonymous access is on",
    status: 200,
    body: () => VERSION,
  },
}

export function differenceOf(of: {
  name: string
  index: number
  exchange: Exchange
}): Difference | undefined {
  const { name, index, exchange } = of
  const own = BY_RECORDING[`${name} ${index}`] ?? BY_RECORDING[name]
  if (own !== undefined) return own
  const isGot = exchange.method === "GET" && exchange.status === 200 && !isAlike(exchange)
  return isGot ? BY_PATH[exchange.url.split("?")[0] ?? ""] : undefined
}
