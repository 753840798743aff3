/** One request about a resource, as the handlers see it, and what they need to answer. */

import type { Registry } from "../registry/registry.ts"
import type { Ref } from "../registry/resource.ts"
import type { ApiRequest, User } from "./auth.ts"
import { managerOf, type WriteOptions } from "./options.ts"
import type { ListMeta } from "./table.ts"
import type { StoredResource } from "./resources.ts"
import { type MediaType, bodyMediaType } from "./negotiate.ts"
import type { ResourceName } from "./status.ts"

export interface Deps {
  readonly registry: Registry
  readonly now: () => Date
}

export interface Call {
  readonly resource: StoredResource
  /** Of the path; undefined for a kind of the cluster, and for a list over all namespaces. */
  readonly namespace: string | undefined
  /** Empty for a collection. */
  readonly name: string
  readonly subresource: string | undefined
  readonly query: URLSearchParams
  readonly headers: ApiRequest["headers"]
  readonly user: User
  /** The whole body. Throws 413. */
  body(): Promise<Buffer>
}

/** Kubernetes lists of any kind; its items bear no kind of their own. */
export interface ObjectList {
  readonly kind: string
  readonly apiVersion: string
  readonly metadata: ListMeta
  readonly items: readonly object[]
}

/** `object`: a Kubernetes object, a list or a Status. */
export interface Answer {
  readonly code: number
  readonly object: { readonly kind: string; readonly apiVersion: string }
  readonly warnings?: readonly string[]
  /** The object is the registry's own, and is answered again as long as it does not change. */
  readonly isShared?: true
}

export const refOf = ({ namespace, name }: Call): Ref => ({ namespace, name })

/** As a failure names the object: by its resource. */
export const subjectOf = ({ resource, name }: Pick<Call, "resource" | "name">): ResourceName => ({
  group: resource.group,
  resource: resource.plural,
  name,
})

/** Throws 415. */
export const mediaTypeOf = ({ headers }: Pick<Call, "headers">): MediaType =>
  bodyMediaType(headers["content-type"])

export const writerOf = ({ headers }: Pick<Call, "headers">, options: WriteOptions): string =>
  managerOf(options, headers["user-agent"])
