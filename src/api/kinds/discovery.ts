/** What clients ask before anything else: which groups, versions and resources there are, and which server this is.
 *  The answers never change while a program runs, so each is made once. */

import { createHash } from "node:crypto"
import { apiVersionOf, isStored, RESOURCES, type Resource } from "./resources.ts"

/** A ready answer. A client that sends `etag` in If-None-Match has it already. */
export interface Document {
  readonly contentType: string
  readonly body: string
  readonly etag: string
}

/** The Kubernetes version whose API this is. */
const KUBERNETES = { major: "1", minor: "36", patch: "2" } as const
export const KUBERNETES_VERSION = `v${KUBERNETES.major}.${KUBERNETES.minor}.${KUBERNETES.patch}`

export function makeDocument(contentType: string, body: string): Document {
  const hash = createHash("sha512").update(body).digest("hex").toUpperCase()
  return { contentType, body, etag: `"${hash}"` }
}

/** Whether an If-None-Match header names the document (RFC 9110 §13.1.2). */
export const isUnchanged = (document: Document, ifNoneMatch: string | undefined): boolean =>
  ifNoneMatch !== undefined &&
  ifNoneMatch
    .split(",")
    .map((tag) => tag.trim().replace(/^W\//, ""))
    .some((tag) => tag === document.etag || tag === "*")

const json = (value: unknown): Document =>
  makeDocument("application/json", `${JSON.stringify(value)}\n`)

/** `GET /version`, indented and without a newline, as kube-apiserver writes it. */
export const versionDocument = (build: {
  readonly version: string
  readonly commit: string
  readonly date: string
  readonly runtime: string
  readonly platform: string
}): Document => {
  const { major, minor } = KUBERNETES
  const info = {
    major,
    minor,
    emulationMajor: major,
    emulationMinor: minor,
    minCompatibilityMajor: major,
    minCompatibilityMinor: String(Number(minor) - 1),
    gitVersion: `${KUBERNETES_VERSION}+keyturn-${build.version}`,
    gitCommit: build.commit,
    gitTreeState: "clean",
    buildDate: build.date,
    goVersion: build.runtime,
    compiler: "v8",
    platform: build.platform,
  }
  return makeDocument("application/json", JSON.stringify(info, null, 2))
}

/** `GET /api`; `serverAddress` is `host:port` as the client may reach it. */
export const apiVersions = (serverAddress: string): Document =>
  json({
    kind: "APIVersions",
    versions: ["v1"],
    serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress }],
  })

const NAMED_GROUPS = [...new Set(RESOURCES.map(({ group }) => group))].filter(Boolean)

const groupEntry = (name: string) => {
  const versions = [...new Set(RESOURCES.filter((r) => r.group === name).map((r) => r.version))]
  const entries = versions.map((version) => ({ groupVersion: `${name}/${version}`, version }))
  return { name, versions: entries, preferredVersion: entries[0] }
}

/** `GET /apis` */
export const apiGroupList: Document = json({
  kind: "APIGroupList",
  apiVersion: "v1",
  groups: NAMED_GROUPS.map(groupEntry),
})

/** `GET /api/v1/pods`, which is no resource here: `kubectl describe node` and `kubectl drain` ask for a node's pods, and stop
 *  where that is not found. */
export const NO_PODS: Document = json({
  kind: "PodList",
  apiVersion: "v1",
  metadata: {},
  items: [],
})

const GROUPS = new Map(
  NAMED_GROUPS.map((name) => [
    name,
    json({ kind: "APIGroup", apiVersion: "v1", ...groupEntry(name) }),
  ]),
)

/** `GET /apis/<group>`; undefined where the group is not served. */
export const apiGroup = (group: string): Document | undefined => GROUPS.get(group)

/** Changes with the version that objects are stored in. */
const storageVersionHash = (resource: Resource): string =>
  createHash("sha256")
    .update(`${resource.group}/${resource.version}/${resource.kind}`)
    .digest()
    .subarray(0, 8)
    .toString("base64")

const listEntries = (resource: Resource) => [
  {
    name: resource.plural,
    singularName: resource.singular,
    namespaced: resource.namespaced,
    kind: resource.kind,
    verbs: resource.verbs,
    ...(resource.shortNames.length > 0 ? { shortNames: resource.shortNames } : {}),
    ...(isStored(resource) ? { storageVersionHash: storageVersionHash(resource) } : {}),
  },
  ...resource.subresources.map(({ name, verbs }) => ({
    name: `${resource.plural}/${name}`,
    singularName: "",
    namespaced: resource.namespaced,
    kind: resource.kind,
    verbs,
  })),
]

const RESOURCE_LISTS = new Map(
  [...Map.groupBy(RESOURCES, apiVersionOf)].map(([groupVersion, resources]) => [
    groupVersion,
    json({
      kind: "APIResourceList",
      ...(groupVersion.includes("/") ? { apiVersion: "v1" } : {}),
      groupVersion,
      resources: resources.flatMap(listEntries),
    }),
  ]),
)

/** `GET /api/v1` and `GET /apis/<group>/<version>`; undefined where the group version is not served. */
export const apiResourceList = (groupVersion: string): Document | undefined =>
  RESOURCE_LISTS.get(groupVersion)

const responseKind = ({ kind }: Resource) => ({ group: "", version: "", kind })

const aggregatedEntry = (resource: Resource) => ({
  resource: resource.plural,
  responseKind: responseKind(resource),
  scope: resource.namespaced ? "Namespaced" : "Cluster",
  singularResource: resource.singular,
  verbs: resource.verbs,
  ...(resource.shortNames.length > 0 ? { shortNames: resource.shortNames } : {}),
  ...(resource.subresources.length > 0
    ? {
        subresources: resource.subresources.map(({ name, verbs }) => ({
          subresource: name,
          responseKind: responseKind(resource),
          verbs,
        })),
      }
    : {}),
})

function aggregated(groups: readonly string[], discoveryVersion: string): Document {
  const items = groups.map((group) => {
    const resources = RESOURCES.filter((resource) => resource.group === group)
    const versions = [...new Set(resources.map(({ version }) => version))]
    return {
      metadata: group === "" ? {} : { name: group },
      versions: versions.map((version) => ({
        version,
        resources: resources.filter((r) => r.version === version).map(aggregatedEntry),
        freshness: "Current",
      })),
    }
  })
  const list = {
    kind: "APIGroupDiscoveryList",
    apiVersion: `apidiscovery.k8s.io/${discoveryVersion}`,
    metadata: {},
    items,
  }
  const as = `g=apidiscovery.k8s.io;v=${discoveryVersion};as=APIGroupDiscoveryList`
  return makeDocument(`application/json;${as}`, `${JSON.stringify(list)}\n`)
}

const AGGREGATED = {
  core: { v2: aggregated([""], "v2"), v2beta1: aggregated([""], "v2beta1") },
  named: { v2: aggregated(NAMED_GROUPS, "v2"), v2beta1: aggregated(NAMED_GROUPS, "v2beta1") },
} as const

/** `GET /api` (`core`) or `GET /apis` with all resources in one answer. */
export const aggregatedDiscovery = (of: {
  readonly core: boolean
  readonly version: "v2" | "v2beta1"
}): Document => AGGREGATED[of.core ? "core" : "named"][of.version]
