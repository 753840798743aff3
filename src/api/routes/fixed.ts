/** The paths that are no resource: discovery, OpenAPI, version, health, metrics and what a joining client asks first. */

import type { ApiRequest } from "../request/auth.ts"
import {
  aggregatedDiscovery,
  apiGroup,
  apiGroupList,
  apiResourceList,
  apiVersions,
  type Document,
  isUnchanged,
  NO_PODS,
  versionDocument,
} from "../kinds/discovery.ts"
import { type Checks, sendHealth } from "./health.ts"
import type { Metrics } from "./metrics.ts"
import { negotiateDiscovery } from "../request/negotiate.ts"
import { OPENAPI_DOCUMENTS, OPENAPI_INDEX, openApiV2 } from "../openapi/document.ts"
import type { RequestInfo } from "../request/request.ts"
import {
  type ApiResponse,
  send,
  sendDocument,
  sendNotModified,
  sendText,
} from "../answer/respond.ts"
import { methodNotAllowed } from "../status.ts"

export interface FixedParts {
  readonly version: string
  /** PEM. */
  readonly cacerts: string
  /** What must hold before the server is ready. */
  readonly health: () => Checks
  readonly metrics: Metrics
}

type Route = (request: ApiRequest, response: ApiResponse, info: RequestInfo) => void

/** Throws 405. */
export function fixedRoutes({ version, cacerts, health, metrics }: FixedParts): Route {
  const built = versionDocument({
    version,
    commit: "",
    date: "1970-01-01T00:00:00Z",
    runtime: `node${process.versions.node}`,
    platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
  })
  const alive = () => ({ ping: true })
  const routes: Record<string, Route> = {
    "/healthz": healthRoute(() => ({ ...alive(), ...health() })),
    "/livez": healthRoute(alive),
    "/readyz": healthRoute(() => ({ ...alive(), ...health() })),
    "/cacerts": (_, response) => sendText(response, 200, cacerts),
    "/metrics": (_, response) =>
      send(response, {
        code: 200,
        contentType: "text/plain; version=0.0.4; charset=utf-8",
        body: metrics.render(),
      }),
  }
  return (request, response, info) => {
    if (info.method !== "GET" && info.method !== "HEAD") throw methodNotAllowed()
    const path = info.path.length > 1 ? info.path.replace(/\/$/, "") : info.path
    const route = routes[path] ?? routes[HEALTH_CHECK.exec(path)?.[1] ?? ""]
    if (route !== undefined) return route(request, response, { ...info, path })
    const document = path === "/version" ? built : documentAt(path, request)
    if (document === undefined) return sendText(response, 404, "404 page not found\n")
    if (isUnchanged(document, request.headers["if-none-match"])) sendNotModified(response, document)
    else sendDocument(response, document)
  }
}

/** `/readyz/<check>` */
const HEALTH_CHECK = /^(\/(?:healthz|livez|readyz))\/[^/]+$/

const healthRoute =
  (checks: () => Checks): Route =>
  (_, response, { path, query }) =>
    sendHealth(response, { path, query, checks: checks() })

function documentAt(path: string, { headers }: ApiRequest): Document | undefined {
  const { accept } = headers
  if (path === "/api" || path === "/apis") {
    const core = path === "/api"
    const version = negotiateDiscovery(accept)
    if (version !== undefined) return aggregatedDiscovery({ core, version })
    return core ? apiVersions(String(headers.host ?? headers[":authority"] ?? "")) : apiGroupList
  }
  if (path === "/api/v1") return apiResourceList("v1")
  if (path === PODS) return NO_PODS
  if (path === "/openapi/v2") return openApiV2(accept)
  if (path === "/openapi/v3") return OPENAPI_INDEX
  if (path.startsWith(OPENAPI)) return OPENAPI_DOCUMENTS.get(path.slice(OPENAPI.length))
  const [, root, group = "", version, ...more] = path.split("/")
  if (root !== "apis" || more.length > 0) return undefined
  return version === undefined ? apiGroup(group) : apiResourceList(`${group}/${version}`)
}

const OPENAPI = "/openapi/v3/"
const PODS = "/api/v1/pods"

/** Whether the request is answered here although its path reads as a resource's. */
export const isFixed = ({ verb, path }: RequestInfo): boolean => verb === "list" && path === PODS
