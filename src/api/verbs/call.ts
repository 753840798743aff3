/** One request about a resource, as the handlers see it, and what they need to answer. */

import type { Registry } from "../../registry/registry.ts"
import type { Ref } from "../../registry/resource.ts"
import type { ApiRequest, User } from "../request/auth.ts"
import { managerOf, type WriteOptions } from "../request/options.ts"
import type { StoredResource } from "../kinds/resources.ts"
import { type MediaType, bodyMediaType } from "../request/negotiate.ts"
import type { ResourceName } from "../status.ts"

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
