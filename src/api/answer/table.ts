/** Objects as `kubectl get` prints them: a Table of cells that the server makes, and PartialObjectMetadata, an
 *  object without all but its metadata. Columns of priority 1 are those of `-o wide`. */

import type { KubeObject, ObjectMeta } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { ageOf } from "../text/human-duration.ts"
import type { Conversion } from "../request/negotiate.ts"
import { describe } from "../openapi/descriptions.ts"
import type { IncludeObject } from "../request/options.ts"
import type { Resource } from "../kinds/resources.ts"

export interface ListMeta {
  readonly resourceVersion?: string
  readonly continue?: string
  readonly remainingItemCount?: number
}

type Cell = string | number

interface Column {
  readonly name: string
  readonly format?: "name"
  readonly description: string
  readonly priority?: 1
  readonly cell: (object: KubeObject, now: Date) => Cell
}

/** Empty where the path leads nowhere. */
function at(object: unknown, ...path: string[]): string {
  const value = path.reduce<unknown>(
    (from, name) => (isRecord(from) ? from[name] : undefined),
    object,
  )
  return typeof value === "string" || typeof value === "number" ? String(value) : ""
}

const records = (object: KubeObject, ...path: string[]): Record<string, unknown>[] => {
  const value = path.reduce<unknown>(
    (from, name) => (isRecord(from) ? from[name] : undefined),
    object,
  )
  return Array.isArray(value) ? value.filter(isRecord) : []
}

const NAME: Column = {
  name: "Name",
  format: "name",
  description: describe("ObjectMeta.name"),
  cell: ({ metadata }) => metadata.name ?? "",
}
const AGE: Column = {
  name: "Age",
  description: describe("ObjectMeta.creationTimestamp"),
  cell: ({ metadata }, now) => ageOf(metadata.creationTimestamp, now),
}

const SECRET: readonly Column[] = [
  NAME,
  { name: "Type", description: describe("Secret.type"), cell: (secret) => at(secret, "type") },
  {
    name: "Data",
    description: describe("Secret.data"),
    cell: ({ data }) => (isRecord(data) ? Object.keys(data).length : 0),
  },
  AGE,
]

const NAMESPACE: readonly Column[] = [
  NAME,
  {
    name: "Status",
    description: "The status of the namespace",
    cell: (namespace) => at(namespace, "status", "phase"),
  },
  AGE,
]

function nodeStatus(node: KubeObject): string {
  const ready = records(node, "status", "conditions").find(({ type }) => type === "Ready")
  const status = ready === undefined ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady"
  const { unschedulable } = isRecord(node.spec) ? node.spec : {}
  return unschedulable === true ? `${status},SchedulingDisabled` : status
}

const ROLE_PREFIX = "node-role.kubernetes.io/"

function nodeRoles({ metadata: { labels = {} } }: KubeObject): string {
  const roles = Object.entries(labels).flatMap(([key, value]) => {
    if (key.startsWith(ROLE_PREFIX)) return [key.slice(ROLE_PREFIX.length)]
    return key === "kubernetes.io/role" ? [value] : []
  })
  return (
    [...new Set(roles)]
      .filter((role) => role !== "")
      .toSorted()
      .join(",") || "<none>"
  )
}

const nodeAddress =
  (type: string) =>
  (node: KubeObject): string =>
    at(
      records(node, "status", "addresses").find((address) => address.type === type),
      "address",
    ) || "<none>"

const wideNodeInfo = (name: string, field: string): Column => ({
  name,
  description: describe(`NodeSystemInfo.${field}`),
  priority: 1,
  cell: (node) => at(node, "status", "nodeInfo", field) || "<unknown>",
})

const NODE: readonly Column[] = [
  NAME,
  { name: "Status", description: "The status of the node", cell: nodeStatus },
  { name: "Roles", description: "The roles of the node", cell: nodeRoles },
  AGE,
  {
    name: "Version",
    description: describe("NodeSystemInfo.kubeletVersion"),
    cell: (node) => at(node, "status", "nodeInfo", "kubeletVersion"),
  },
  ...(["InternalIP", "ExternalIP"] as const).map(
    (type): Column => ({
      name: type.replace("IP", "-IP"),
      description: describe("NodeStatus.addresses"),
      priority: 1,
      cell: nodeAddress(type),
    }),
  ),
  wideNodeInfo("OS-Image", "osImage"),
  wideNodeInfo("Kernel-Version", "kernelVersion"),
  wideNodeInfo("Container-Runtime", "containerRuntimeVersion"),
]

const firstSeen = (event: KubeObject, now: Date): string =>
  ageOf(event.firstTimestamp ?? event.eventTime, now)

function lastSeen(event: KubeObject, now: Date): string {
  if (isRecord(event.series)) return ageOf(event.series.lastObservedTime, now)
  return event.lastTimestamp ? ageOf(event.lastTimestamp, now) : firstSeen(event, now)
}

function eventObject(event: KubeObject): string {
  const kind = at(event, "involvedObject", "kind").toLowerCase()
  const name = at(event, "involvedObject", "name")
  return name === "" ? kind : `${kind}/${name}`
}

function eventSource(event: KubeObject): string {
  const component = at(event, "source", "component") || at(event, "reportingComponent")
  const host = at(event, "source", "host") || at(event, "reportingInstance")
  return host === "" ? component : `${component}, ${host}`
}

const eventCount = (event: KubeObject): number =>
  Number(isRecord(event.series) ? at(event, "series", "count") : at(event, "count")) || 1

const ofEvent = (name: string, field: string, cell: Column["cell"], wide = {}): Column => ({
  name,
  description: describe(field),
  cell,
  ...wide,
})
const WIDE = { priority: 1 } as const

const EVENT: readonly Column[] = [
  ofEvent("Last Seen", "Event.lastTimestamp", lastSeen),
  ofEvent("Type", "Event.type", (event) => at(event, "type")),
  ofEvent("Reason", "Event.reason", (event) => at(event, "reason")),
  ofEvent("Object", "Event.involvedObject", eventObject),
  ofEvent(
    "Subobject",
    "ObjectReference.fieldPath",
    (event) => at(event, "involvedObject", "fieldPath"),
    WIDE,
  ),
  ofEvent("Source", "Event.source", eventSource, WIDE),
  ofEvent("Message", "Event.message", (event) => at(event, "message").trim()),
  ofEvent("First Seen", "Event.firstTimestamp", firstSeen, WIDE),
  ofEvent("Count", "Event.count", eventCount, WIDE),
  ofEvent("Name", "ObjectMeta.name", NAME.cell, WIDE),
]

const BY_KIND: Readonly<Record<string, readonly Column[]>> = {
  Secret: SECRET,
  Namespace: NAMESPACE,
  Node: NODE,
  Event: EVENT,
}

export interface TableOptions {
  readonly version: Conversion["version"]
  readonly includeObject: IncludeObject
  readonly now: Date
  /** A watch tells the columns once. */
  readonly withColumns?: boolean
}

/** `items`: those of a list with its metadata, or the one object with its resourceVersion. */
export function toTable(
  resource: Resource,
  of: { readonly items: readonly KubeObject[]; readonly metadata: ListMeta },
  options: TableOptions,
) {
  const columns = BY_KIND[resource.kind] ?? [NAME, AGE]
  return {
    kind: "Table",
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata: of.metadata,
    columnDefinitions: options.withColumns === false ? null : columns.map(definition),
    rows: of.items.map((object) => ({
      cells: columns.map(({ cell }) => cell(object, options.now)),
      object: carried(object, options),
    })),
  }
}

const definition = ({ name, format, description, priority }: Column) => ({
  name,
  type: "string",
  format: format ?? "",
  description,
  priority: priority ?? 0,
})

function carried(object: KubeObject, { includeObject, version }: TableOptions): unknown {
  if (includeObject === "None") return null
  return includeObject === "Object" ? object : toPartial(object, version)
}

export interface PartialObjectMetadata {
  readonly kind: "PartialObjectMetadata"
  readonly apiVersion: string
  readonly metadata: ObjectMeta
}

export const toPartial = (
  { metadata }: KubeObject,
  version: Conversion["version"],
): PartialObjectMetadata => ({
  kind: "PartialObjectMetadata",
  apiVersion: `meta.k8s.io/${version}`,
  metadata,
})

export const toPartialList = (
  of: { readonly items: readonly KubeObject[]; readonly metadata: ListMeta },
  version: Conversion["version"],
) => ({
  kind: "PartialObjectMetadataList",
  apiVersion: `meta.k8s.io/${version}`,
  metadata: of.metadata,
  items: of.items.map((object) => toPartial(object, version)),
})
