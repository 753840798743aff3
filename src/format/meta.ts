/** The messages of meta/v1 (k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto), and the envelope of stored values
 *  (k8s.io/apimachinery/pkg/runtime). */

// biome-ignore-all format: tables

import { bool, bytes, fieldsV1, int32, int64, string } from "./scalars.ts"
import { type FieldType, list, map, type Message, message } from "./schema.ts"
import { time } from "./time.ts"

const OwnerReference = message("OwnerReference", [
  [5, "apiVersion",         string, "always"],
  [1, "kind",               string, "always"],
  [3, "name",               string, "always"],
  [4, "uid",                string, "always"],
  [6, "controller",         bool,   "set"],
  [7, "blockOwnerDeletion", bool,   "set"],
])

const ManagedFieldsEntry = message("ManagedFieldsEntry", [
  [1, "manager",     string,   "wire"],
  [2, "operation",   string,   "wire"],
  [3, "apiVersion",  string,   "wire"],
  [4, "time",        time,     "set"],
  [6, "fieldsType",  string,   "wire"],
  [7, "fieldsV1",    fieldsV1, "set"],
  [8, "subresource", string,   "wire"],
])

export const ObjectMeta = message("ObjectMeta", [
  [1,  "name",                       string,                   "wire"],
  [2,  "generateName",               string,                   "wire"],
  [3,  "namespace",                  string,                   "wire"],
  [4,  "selfLink",                   string,                   "wire"],
  [5,  "uid",                        string,                   "wire"],
  [6,  "resourceVersion",            string,                   "wire"],
  [7,  "generation",                 int64,                    "wire"],
  [8,  "creationTimestamp",          time,                     "wire"],
  [9,  "deletionTimestamp",          time,                     "set"],
  [10, "deletionGracePeriodSeconds", int64,                    "set"],
  [11, "labels",                     map(string),              "set"],
  [12, "annotations",                map(string),              "set"],
  [13, "ownerReferences",            list(OwnerReference),     "set"],
  [14, "finalizers",                 list(string),             "set"],
  [17, "managedFields",              list(ManagedFieldsEntry), "set"],
])

const ListMeta = message("ListMeta", [
  [1, "selfLink",           string, "wire"],
  [2, "resourceVersion",    string, "wire"],
  [3, "continue",           string, "wire"],
  [4, "remainingItemCount", int64,  "set"],
])

const StatusCause = message("StatusCause", [
  [1, "reason",  string, "wire"],
  [2, "message", string, "wire"],
  [3, "field",   string, "wire"],
])

const StatusDetails = message("StatusDetails", [
  [1, "name",              string,            "wire"],
  [2, "group",             string,            "wire"],
  [3, "kind",              string,            "wire"],
  [6, "uid",               string,            "wire"],
  [4, "causes",            list(StatusCause), "set"],
  [5, "retryAfterSeconds", int32,             "wire"],
])

export const Status = message("Status", [
  [1, "metadata", ListMeta,      "always"],
  [2, "status",   string,        "wire"],
  [3, "message",  string,        "wire"],
  [4, "reason",   string,        "wire"],
  [5, "details",  StatusDetails, "set"],
  [6, "code",     int32,         "wire"],
])

const Preconditions = message("Preconditions", [
  [1, "uid",             string, "set"],
  [2, "resourceVersion", string, "set"],
])

export const DeleteOptions = message("DeleteOptions", [
  [1, "gracePeriodSeconds", int64,         "set"],
  [2, "preconditions",      Preconditions, "set"],
  [3, "orphanDependents",   bool,          "set"],
  [4, "propagationPolicy",  string,        "set"],
  [5, "dryRun",             list(string),  "set"],
  [6, "ignoreStoreReadErrorWithClusterBreakingPotential", bool, "set"],
])

export const PartialObjectMetadata = message("PartialObjectMetadata", [
  [1, "metadata", ObjectMeta, "always"],
])

const RawExtension = message("RawExtension", [
  [1, "raw", bytes, "set"],
])

/** `object.raw` is a whole encoded object, its envelope included. */
export const WatchEvent = message("WatchEvent", [
  [1, "type",   string,       "always"],
  [2, "object", RawExtension, "always"],
])

const TypeMeta = message("TypeMeta", [
  [1, "apiVersion", string, "always"],
  [2, "kind",       string, "always"],
])

/** runtime.Unknown with `raw` read as a type. */
export const envelope = (raw: FieldType): Message =>
  message("Unknown", [
    [1, "typeMeta",        TypeMeta, "always"],
    [2, "raw",             raw,      "always"],
    [3, "contentEncoding", string,   "always"],
    [4, "contentType",     string,   "always"],
  ])

/** `<kind>List`. */
export const listOf = (item: Message): Message =>
  message(`${item.name}List`, [
    [1, "metadata", ListMeta,   "always"],
    [2, "items",    list(item), "always"],
  ])
