/** The messages of core/v1 (k8s.io/api/core/v1/generated.proto) that keyturn serves, whole. */

// biome-ignore-all format: tables

import { ObjectMeta } from "./meta.ts"
import { bool, bytes, int32, int64, quantity, string } from "./scalars.ts"
import { list, map, message } from "./schema.ts"
import { microTime, time } from "./time.ts"

export const Secret = message("Secret", [
  [1, "metadata",   ObjectMeta,  "always"],
  [5, "immutable",  bool,        "set"],
  [2, "data",       map(bytes),  "set"],
  [4, "stringData", map(string), "set"],
  [3, "type",       string,      "wire"],
])

const NamespaceSpec = message("NamespaceSpec", [
  [1, "finalizers", list(string), "set"],
])

const NamespaceCondition = message("NamespaceCondition", [
  [1, "type",               string, "always"],
  [2, "status",             string, "always"],
  [4, "lastTransitionTime", time,   "always"],
  [5, "reason",             string, "wire"],
  [6, "message",            string, "wire"],
])

const NamespaceStatus = message("NamespaceStatus", [
  [1, "phase",      string,                   "wire"],
  [2, "conditions", list(NamespaceCondition), "set"],
])

export const Namespace = message("Namespace", [
  [1, "metadata", ObjectMeta,      "always"],
  [2, "spec",     NamespaceSpec,   "always"],
  [3, "status",   NamespaceStatus, "always"],
])

const ObjectReference = message("ObjectReference", [
  [1, "kind",            string, "wire"],
  [2, "namespace",       string, "wire"],
  [3, "name",            string, "wire"],
  [4, "uid",             string, "wire"],
  [5, "apiVersion",      string, "wire"],
  [6, "resourceVersion", string, "wire"],
  [7, "fieldPath",       string, "wire"],
])

const EventSource = message("EventSource", [
  [1, "component", string, "wire"],
  [2, "host",      string, "wire"],
])

const EventSeries = message("EventSeries", [
  [1, "count",            int32,     "wire"],
  [2, "lastObservedTime", microTime, "always"],
])

export const Event = message("Event", [
  [1,  "metadata",           ObjectMeta,      "always"],
  [2,  "involvedObject",     ObjectReference, "always"],
  [3,  "reason",             string,          "wire"],
  [4,  "message",            string,          "wire"],
  [5,  "source",             EventSource,     "always"],
  [6,  "firstTimestamp",     time,            "always"],
  [7,  "lastTimestamp",      time,            "always"],
  [8,  "count",              int32,           "wire"],
  [9,  "type",               string,          "wire"],
  [10, "eventTime",          microTime,       "always"],
  [11, "series",             EventSeries,     "set"],
  [12, "action",             string,          "wire"],
  [13, "related",            ObjectReference, "set"],
  [14, "reportingComponent", string,          "always"],
  [15, "reportingInstance",  string,          "always"],
])

const Taint = message("Taint", [
  [1, "key",       string, "always"],
  [2, "value",     string, "wire"],
  [3, "effect",    string, "always"],
  [4, "timeAdded", time,   "set"],
])

const ConfigMapNodeConfigSource = message("ConfigMapNodeConfigSource", [
  [1, "namespace",        string, "always"],
  [2, "name",             string, "always"],
  [3, "uid",              string, "wire"],
  [4, "resourceVersion",  string, "wire"],
  [5, "kubeletConfigKey", string, "always"],
])

const NodeConfigSource = message("NodeConfigSource", [
  [2, "configMap", ConfigMapNodeConfigSource, "set"],
])

const NodePodPreemptionPolicy = message("NodePodPreemptionPolicy", [
  [1, "disableResizePreemption", list(string), "set"],
])

const NodeSpec = message("NodeSpec", [
  [1, "podCIDR",             string,                  "wire"],
  [7, "podCIDRs",            list(string),            "set"],
  [3, "providerID",          string,                  "wire"],
  [4, "unschedulable",       bool,                    "wire"],
  [5, "taints",              list(Taint),             "set"],
  [6, "configSource",        NodeConfigSource,        "set"],
  [2, "externalID",          string,                  "wire"],
  [8, "podPreemptionPolicy", NodePodPreemptionPolicy, "set"],
])

const NodeCondition = message("NodeCondition", [
  [1, "type",               string, "always"],
  [2, "status",             string, "always"],
  [3, "lastHeartbeatTime",  time,   "always"],
  [4, "lastTransitionTime", time,   "always"],
  [5, "reason",             string, "wire"],
  [6, "message",            string, "wire"],
])

const NodeAddress = message("NodeAddress", [
  [1, "type",    string, "always"],
  [2, "address", string, "always"],
])

const DaemonEndpoint = message("DaemonEndpoint", [
  [1, "Port", int32, "always"],
])

const NodeDaemonEndpoints = message("NodeDaemonEndpoints", [
  [1, "kubeletEndpoint", DaemonEndpoint, "always"],
])

const NodeSwapStatus = message("NodeSwapStatus", [
  [1, "capacity", int64, "set"],
])

const NodeSystemInfo = message("NodeSystemInfo", [
  [1,  "machineID",               string,         "always"],
  [2,  "systemUUID",              string,         "always"],
  [3,  "bootID",                  string,         "always"],
  [4,  "kernelVersion",           string,         "always"],
  [5,  "osImage",                 string,         "always"],
  [6,  "containerRuntimeVersion", string,         "always"],
  [7,  "kubeletVersion",          string,         "always"],
  [8,  "kubeProxyVersion",        string,         "always"],
  [9,  "operatingSystem",         string,         "always"],
  [10, "architecture",            string,         "always"],
  [11, "swap",                    NodeSwapStatus, "set"],
])

const ContainerImage = message("ContainerImage", [
  [1, "names",     list(string), "always"],
  [2, "sizeBytes", int64,        "wire"],
])

const AttachedVolume = message("AttachedVolume", [
  [1, "name",       string, "always"],
  [2, "devicePath", string, "always"],
])

const NodeConfigStatus = message("NodeConfigStatus", [
  [1, "assigned",      NodeConfigSource, "set"],
  [2, "active",        NodeConfigSource, "set"],
  [3, "lastKnownGood", NodeConfigSource, "set"],
  [4, "error",         string,           "wire"],
])

const NodeRuntimeHandlerFeatures = message("NodeRuntimeHandlerFeatures", [
  [1, "recursiveReadOnlyMounts", bool, "set"],
  [2, "userNamespaces",          bool, "set"],
])

const NodeRuntimeHandler = message("NodeRuntimeHandler", [
  [1, "name",     string,                     "always"],
  [2, "features", NodeRuntimeHandlerFeatures, "set"],
])

const NodeFeatures = message("NodeFeatures", [
  [1, "supplementalGroupsPolicy", bool, "set"],
])

const NodeStatus = message("NodeStatus", [
  [1,  "capacity",         map(quantity),            "set"],
  [2,  "allocatable",      map(quantity),            "set"],
  [3,  "phase",            string,                   "wire"],
  [4,  "conditions",       list(NodeCondition),      "set"],
  [5,  "addresses",        list(NodeAddress),        "set"],
  [6,  "daemonEndpoints",  NodeDaemonEndpoints,      "always"],
  [7,  "nodeInfo",         NodeSystemInfo,           "always"],
  [8,  "images",           list(ContainerImage),     "set"],
  [9,  "volumesInUse",     list(string),             "set"],
  [10, "volumesAttached",  list(AttachedVolume),     "set"],
  [11, "config",           NodeConfigStatus,         "set"],
  [12, "runtimeHandlers",  list(NodeRuntimeHandler), "set"],
  [13, "features",         NodeFeatures,             "set"],
  [14, "declaredFeatures", list(string),             "set"],
])

export const Node = message("Node", [
  [1, "metadata", ObjectMeta, "always"],
  [2, "spec",     NodeSpec,   "always"],
  [3, "status",   NodeStatus, "always"],
])
