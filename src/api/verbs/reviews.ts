/** Questions that a user asks about himself: who am I, may I. Nothing is stored. */

import type { KubeObject } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import { toTime } from "../../format/time.ts"
import { isAdmin, rulesOf, type User } from "../request/auth.ts"
import { decodeBody } from "../request/body.ts"
import { type Call, type Deps, mediaTypeOf } from "./call.ts"
import type { Answer } from "../answer/respond.ts"
import { createOptions } from "../request/options.ts"
import type { Resource } from "../kinds/resources.ts"
import { badRequest, fieldError, invalid } from "../status.ts"

type Asked = Omit<Call, "resource"> & { readonly resource: Resource }

export async function review({ now }: Pick<Deps, "now">, call: Asked): Promise<Answer> {
  const options = createOptions(call.query)
  const how = { mediaType: mediaTypeOf(call), fieldValidation: options.fieldValidation }
  const { object, warnings } = decodeBody(call.resource, await call.body(), how)
  if (call.resource.kind === "SelfSubjectReview")
    return { code: 201, object: whoAmI(call.user, now()), warnings }
  if (call.resource.kind === "SelfSubjectRulesReview")
    return { code: 201, object: whatMayI(call.user, object), warnings }
  return { code: 201, object: mayI(call.user, object), warnings }
}

const whoAmI = ({ name, uid, groups }: User, now: Date): KubeObject => ({
  kind: "SelfSubjectReview",
  apiVersion: "authentication.k8s.io/v1",
  metadata: { creationTimestamp: toTime(now) },
  status: { userInfo: { username: name, ...(uid ? { uid } : {}), groups: [...groups] } },
})

/** Throws 400 where the question is about no namespace, although the answer is the same in all of them. */
function whatMayI(user: User, object: KubeObject): KubeObject {
  if (!isRecord(object.spec) || !object.spec.namespace) throw badRequest("no namespace on request")
  return { ...object, status: { ...rulesOf(user), incomplete: false } }
}

/** Throws 422 where the question is about nothing, or about two things. */
function mayI(user: User, object: KubeObject): KubeObject {
  const spec = isRecord(object.spec) ? object.spec : {}
  const asked = ["resourceAttributes", "nonResourceAttributes"].filter((name) =>
    isRecord(spec[name]),
  )
  if (asked.length !== 1) throw notOne(object)
  return { ...object, status: { allowed: isAdmin(user) } }
}

const notOne = ({ spec }: KubeObject) =>
  invalid({ group: "authorization.k8s.io", kind: "SelfSubjectAccessReview" }, [
    fieldError("Invalid", {
      field: "spec.resourceAttributes",
      value: isRecord(spec) ? (spec.resourceAttributes ?? null) : null,
      detail: "exactly one of nonResourceAttributes or resourceAttributes must be specified",
    }),
  ])
