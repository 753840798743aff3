/** The resources that are served, once: discovery, OpenAPI, routing and storage read this table.
 *  Only what Kubernetes says of them: what becomes of a request is the handlers' part. */

import {
  SelfSubjectAccessReview,
  SelfSubjectReview,
  SelfSubjectRulesReview,
} from "../../format/auth.ts"
import { Event, Namespace, Node, Secret } from "../../format/core.ts"
import type { Message } from "../../format/schema.ts"
import { NODES_PREFIX, SECRETS_PREFIX } from "../../registry/resource.ts"

export type Verb =
  | "create"
  | "delete"
  | "deletecollection"
  | "get"
  | "list"
  | "patch"
  | "update"
  | "watch"

export interface Subresource {
  readonly name: string
  readonly verbs: readonly Verb[]
}

export interface Resource {
  /** Empty for the core group. */
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly singular: string
  readonly kind: string
  readonly listKind: string
  /** The fields of its objects. */
  readonly message: Message
  readonly shortNames: readonly string[]
  readonly namespaced: boolean
  readonly verbs: readonly Verb[]
  /** Of the resource's own kind. */
  readonly subresources: readonly Subresource[]
}

/** A resource whose objects lie in the datastore. */
export interface StoredResource extends Resource {
  /** Bytes on disk depend on it: never change one. */
  readonly storagePrefix: string
}

const WITHOUT_COLLECTION: readonly Verb[] = [
  "create",
  "delete",
  "get",
  "list",
  "patch",
  "update",
  "watch",
]
const ALL: readonly Verb[] = [...WITHOUT_COLLECTION, "deletecollection"].toSorted() as Verb[]
const STATUS: Subresource = { name: "status", verbs: ["get", "patch", "update"] }
const FINALIZE: Subresource = { name: "finalize", verbs: ["update"] }

/** What follows from a kind's message; the core group is written as the empty string. */
const named = (group: string, message: Message) => ({
  group,
  version: "v1",
  plural: `${message.name.toLowerCase()}s`,
  singular: message.name.toLowerCase(),
  kind: message.name,
  listKind: `${message.name}List`,
  message,
})

const core = (
  message: Message,
  rest: Partial<Resource> & { storagePrefix: string },
): StoredResource => ({
  ...named("", message),
  shortNames: [],
  namespaced: true,
  verbs: ALL,
  subresources: [],
  ...rest,
})

/** Asked by creating one; nothing is stored. */
const review = (group: string, message: Message): Resource => ({
  ...named(group, message),
  shortNames: [],
  namespaced: false,
  verbs: ["create"],
  subresources: [],
})

export const SECRETS = core(Secret, { storagePrefix: SECRETS_PREFIX })
export const EVENTS = core(Event, { shortNames: ["ev"], storagePrefix: "/registry/events/" })
export const NAMESPACES = core(Namespace, {
  shortNames: ["ns"],
  namespaced: false,
  verbs: WITHOUT_COLLECTION,
  subresources: [FINALIZE, STATUS],
  storagePrefix: "/registry/namespaces/",
})
export const NODES = core(Node, {
  shortNames: ["no"],
  namespaced: false,
  subresources: [STATUS],
  storagePrefix: NODES_PREFIX,
})
export const SELF_SUBJECT_REVIEWS = review("authentication.k8s.io", SelfSubjectReview)
export const SELF_SUBJECT_ACCESS_REVIEWS = review("authorization.k8s.io", SelfSubjectAccessReview)
export const SELF_SUBJECT_RULES_REVIEWS = review("authorization.k8s.io", SelfSubjectRulesReview)

export const STORED_RESOURCES: readonly StoredResource[] = [EVENTS, NAMESPACES, NODES, SECRETS]

/** By group and then by name, as discovery lists them. */
export const RESOURCES: readonly Resource[] = [
  ...STORED_RESOURCES,
  SELF_SUBJECT_REVIEWS,
  SELF_SUBJECT_ACCESS_REVIEWS,
  SELF_SUBJECT_RULES_REVIEWS,
]

/** `v1`, `authorization.k8s.io/v1`: the apiVersion of the resource's objects. */
export const apiVersionOf = ({ group, version }: Resource): string =>
  group === "" ? version : `${group}/${version}`

/** Where the group version is served: `/api/v1`, `/apis/authorization.k8s.io/v1`. */
export const rootPathOf = (resource: Resource): string =>
  `/${resource.group === "" ? "api" : "apis"}/${apiVersionOf(resource)}`

/** The resource named `plural` in a group version; undefined where none is served. */
export const findResource = (
  groupVersion: { readonly group: string; readonly version: string },
  plural: string,
): Resource | undefined =>
  RESOURCES.find(
    (resource) =>
      resource.group === groupVersion.group &&
      resource.version === groupVersion.version &&
      resource.plural === plural,
  )

export const isStored = (resource: Resource): resource is StoredResource =>
  "storagePrefix" in resource
