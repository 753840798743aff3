/** Whether an object may be stored: the kind's own rules and those of every kind, in kube-apiserver's order, which
 *  runs some of them twice on an update; the causes of a 422 show it. */

import { bug } from "../../errors.ts"
import type { KubeObject } from "../../format/object.ts"
import type { StoredResource } from "../kinds/resources.ts"
import { badRequest, type FieldError, invalid } from "../status.ts"
import {
  eventErrors,
  namespaceErrors,
  namespaceStatusErrors,
  nodeErrors,
  nodeUpdateErrors,
} from "./cluster.ts"
import {
  anyName,
  coreFinalizersErrors,
  metaErrors,
  metaUpdateErrors,
  type NameErrors,
} from "./meta.ts"
import { dnsLabelErrors, dnsSubdomainErrors } from "./names.ts"
import { secretErrors, secretUpdateErrors } from "./secret.ts"

interface KindRules {
  /** Undefined: the kind leaves its metadata to the rules of every kind. */
  readonly nameErrors: NameErrors | undefined
  readonly errors: (object: KubeObject) => FieldError[]
  readonly updateErrors: (object: KubeObject, old: KubeObject) => FieldError[]
}

const nothing = () => []

/** A Secret is checked whole on an update too. */
const secretUpdate: KindRules["updateErrors"] = (object, old) => [
  ...secretUpdateErrors(object, old),
  ...kindMetaErrors(object, { namespaced: true, nameErrors: dnsSubdomainErrors }),
  ...secretErrors(object),
]
const nodeUpdate: KindRules["updateErrors"] = (object, old) => [
  ...nodeErrors(object),
  ...nodeUpdateErrors(object, old),
]

// biome-ignore format: a table
const RULES: Readonly<Record<string, KindRules>> = {
  Secret:    { nameErrors: dnsSubdomainErrors, errors: secretErrors,    updateErrors: secretUpdate },
  Namespace: { nameErrors: dnsLabelErrors,     errors: namespaceErrors, updateErrors: nothing },
  Node:      { nameErrors: dnsSubdomainErrors, errors: nodeErrors,      updateErrors: nodeUpdate },
  Event:     { nameErrors: undefined,          errors: eventErrors,     updateErrors: eventErrors },
}

const kindMetaErrors = (
  { metadata }: KubeObject,
  rules: { namespaced: boolean; nameErrors: NameErrors },
): FieldError[] => [...metaErrors(metadata, rules), ...coreFinalizersErrors(metadata)]

const rulesOf = ({ kind }: StoredResource): KindRules => RULES[kind] ?? bug(`no rules for ${kind}`)

/** `subresource`: that of the path, undefined for the object itself. */
export interface Update {
  readonly object: KubeObject
  readonly old: KubeObject
  readonly subresource?: string | undefined
}

/** Throws 422. The object has its name and namespace (prepare.ts). */
export function validateCreate(resource: StoredResource, object: KubeObject): void {
  const { nameErrors, errors } = rulesOf(resource)
  const { namespaced } = resource
  const own = [
    ...(nameErrors ? kindMetaErrors(object, { namespaced, nameErrors }) : []),
    ...errors(object),
  ]
  throwInvalid(resource, object, own)
  throwInvalid(resource, object, metaErrors(object.metadata, { namespaced, nameErrors: anyName }))
}

/** Throws 422. */
export function validateUpdate(
  resource: StoredResource,
  { object, old, subresource }: Update,
): void {
  const { nameErrors, updateErrors } = rulesOf(resource)
  const [meta, before] = [object.metadata, old.metadata]
  throwInvalid(resource, object, [
    ...metaErrors(meta, { namespaced: resource.namespaced, nameErrors: anyName }),
    ...metaUpdateErrors(meta, before),
    ...(nameErrors ? [...metaUpdateErrors(meta, before), ...coreFinalizersErrors(meta)] : []),
    ...(subresource === undefined ? updateErrors(object, old) : []),
    ...(resource.kind === "Namespace" ? namespaceSubresourceErrors(object, subresource) : []),
  ])
}

function namespaceSubresourceErrors(
  object: KubeObject,
  subresource: string | undefined,
): FieldError[] {
  if (subresource === "status") return namespaceStatusErrors(object)
  return subresource === "finalize" ? namespaceErrors(object) : []
}

function throwInvalid(resource: StoredResource, object: KubeObject, errors: FieldError[]): void {
  const { group, kind } = resource
  if (errors.length > 0) throw invalid({ group, kind, name: object.metadata.name }, errors)
}

/** Throws 400 where the path and the object name different things. An object that says nothing fits. */
export function checkNames(
  object: KubeObject,
  path: { readonly namespace?: string | undefined; readonly name?: string | undefined },
): void {
  const { name = "", namespace = "" } = object.metadata
  if (path.name !== undefined && name !== "" && name !== path.name)
    throw badRequest(
      `the name of the object (${name}) does not match the name on the URL (${path.name})`,
    )
  if (namespace !== "" && namespace !== (path.namespace ?? ""))
    throw badRequest(
      "the namespace of the provided object does not match the namespace sent on the request",
    )
}
