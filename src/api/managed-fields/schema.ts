/** How Kubernetes' structured merge sees the kinds that are served: which maps and lists are merged item by item, and
 *  which are one leaf. The rows are those of Kubernetes' own typed schema. */

/** `fields` are declared by name; `item` is the type of every other key, none is allowed where it is missing. */
export interface MapType {
  readonly is: "map"
  readonly fields: Readonly<Record<string, Type>>
  readonly item?: Type
  readonly atomic: boolean
}

/** Items are told apart by their value, by some of their fields, or not at all. */
export interface ListType {
  readonly is: "list"
  readonly item: Type
  readonly by: "atomic" | "value" | readonly string[]
}

export type Type =
  | { readonly is: "scalar"; readonly of: "string" | "number" | "boolean" }
  | MapType
  | ListType
  /** Whatever the value is: maps are merged, lists are one leaf. */
  | { readonly is: "any" }

const string: Type = { is: "scalar", of: "string" }
const number: Type = { is: "scalar", of: "number" }
const boolean: Type = { is: "scalar", of: "boolean" }
/** Any value: types that a schema leaves open, and kinds that have none. */
export const any: Type = { is: "any" }
const time = string
const struct = (fields: Record<string, Type>): Type => ({ is: "map", fields, atomic: false })
const mapOf = (item: Type): Type => ({ is: "map", fields: {}, item, atomic: false })
/** One leaf, whatever it holds. */
const leaf: Type = { is: "map", fields: {}, item: any, atomic: true }
const leafList: Type = { is: "list", item: any, by: "atomic" }
const setOf = (item: Type): Type => ({ is: "list", item, by: "value" })
const listBy = (keys: readonly string[], item: Type): Type => ({ is: "list", item, by: keys })

const ownerReference: Type = {
  is: "map",
  fields: {
    apiVersion: string,
    blockOwnerDeletion: boolean,
    controller: boolean,
    kind: string,
    name: string,
    uid: string,
  },
  atomic: true,
}

const metadata = struct({
  annotations: mapOf(string),
  creationTimestamp: time,
  deletionGracePeriodSeconds: number,
  deletionTimestamp: time,
  finalizers: setOf(string),
  generateName: string,
  generation: number,
  labels: mapOf(string),
  managedFields: leafList,
  name: string,
  namespace: string,
  ownerReferences: listBy(["uid"], ownerReference),
  resourceVersion: string,
  selfLink: string,
  uid: string,
})

const kind = (fields: Record<string, Type>): Type =>
  struct({ apiVersion: string, kind: string, metadata, ...fields })

const condition = struct({
  lastHeartbeatTime: time,
  lastTransitionTime: time,
  message: string,
  reason: string,
  status: string,
  type: string,
})

const secret = kind({
  data: mapOf(string),
  immutable: boolean,
  stringData: mapOf(string),
  type: string,
})

const namespace = kind({
  spec: struct({ finalizers: leafList }),
  status: struct({ conditions: listBy(["type"], condition), phase: string }),
})

const NODE_INFO = [
  "architecture",
  "bootID",
  "containerRuntimeVersion",
  "kernelVersion",
  "kubeProxyVersion",
  "kubeletVersion",
  "machineID",
  "operatingSystem",
  "osImage",
  "systemUUID",
]
const nodeInfo = Object.fromEntries(NODE_INFO.map((name) => [name, string]))

const node = kind({
  spec: struct({
    configSource: any,
    externalID: string,
    podCIDR: string,
    podCIDRs: setOf(string),
    podPreemptionPolicy: any,
    providerID: string,
    taints: leafList,
    unschedulable: boolean,
  }),
  status: struct({
    addresses: listBy(["type"], struct({ address: string, type: string })),
    allocatable: mapOf(any),
    capacity: mapOf(any),
    conditions: listBy(["type"], condition),
    config: any,
    daemonEndpoints: struct({ kubeletEndpoint: struct({ Port: number }) }),
    declaredFeatures: leafList,
    features: struct({ supplementalGroupsPolicy: boolean }),
    images: leafList,
    nodeInfo: struct({
      ...nodeInfo,
      runningInUserNamespace: boolean,
      swap: struct({ capacity: number }),
    }),
    phase: string,
    runtimeHandlers: leafList,
    volumesAttached: leafList,
    volumesInUse: leafList,
  }),
})

const eventSource = struct({ component: string, host: string })
const eventSeries = struct({ count: number, lastObservedTime: time })

const coreEvent = kind({
  action: string,
  count: number,
  eventTime: time,
  firstTimestamp: time,
  involvedObject: leaf,
  lastTimestamp: time,
  message: string,
  reason: string,
  related: leaf,
  reportingComponent: string,
  reportingInstance: string,
  series: eventSeries,
  source: eventSource,
  type: string,
})

const event = kind({
  action: string,
  deprecatedCount: number,
  deprecatedFirstTimestamp: time,
  deprecatedLastTimestamp: time,
  deprecatedSource: eventSource,
  eventTime: time,
  note: string,
  reason: string,
  regarding: leaf,
  related: leaf,
  reportingController: string,
  reportingInstance: string,
  series: eventSeries,
  type: string,
})

const status = ["f:status"]
const spec = ["f:spec"]

export interface KindSchema {
  readonly type: Type
  /** What Go's empty object shows in JSON: its values do not count as set by anybody. */
  readonly empty: Readonly<Record<string, unknown>>
  /** Top-level fields that a write through this subresource ("" is the object itself) cannot set. */
  readonly reset: Readonly<Record<string, readonly string[]>>
}

const SCHEMAS: Readonly<Record<string, KindSchema>> = {
  "v1/Secret": { type: secret, empty: {}, reset: {} },
  "v1/Namespace": {
    type: namespace,
    empty: { spec: {}, status: {} },
    reset: { "": status, status: spec, finalize: status },
  },
  "v1/Node": {
    type: node,
    empty: {
      spec: {},
      status: {
        daemonEndpoints: { kubeletEndpoint: { Port: 0 } },
        nodeInfo: Object.fromEntries(NODE_INFO.map((name) => [name, ""])),
      },
    },
    reset: { "": status, status: spec },
  },
  "v1/Event": {
    type: coreEvent,
    empty: {
      eventTime: null,
      firstTimestamp: null,
      involvedObject: {},
      lastTimestamp: null,
      reportingComponent: "",
      reportingInstance: "",
      source: {},
    },
    reset: {},
  },
  "events.k8s.io/v1/Event": {
    type: event,
    empty: {
      deprecatedFirstTimestamp: null,
      deprecatedLastTimestamp: null,
      deprecatedSource: {},
      eventTime: null,
      regarding: {},
    },
    reset: {},
  },
}

const OTHER: KindSchema = {
  type: {
    is: "map",
    fields: { apiVersion: string, kind: string, metadata },
    item: any,
    atomic: false,
  },
  empty: {},
  reset: {},
}

/** The schema of a kind; one that is not served gets metadata's and the rule for open values. */
export const schemaOf = (object: { apiVersion: string; kind: string }): KindSchema =>
  SCHEMAS[`${object.apiVersion}/${object.kind}`] ?? OTHER

/** Whether fields that were tracked in `version` are still of a kind that is served. */
export const isServed = (apiVersion: string, objectKind: string): boolean =>
  Object.hasOwn(SCHEMAS, `${apiVersion}/${objectKind}`)
