/** What a Secret may hold, and what an update of it may not change. Messages never show what is in it. */

import type { KubeObject, Secret } from "../../format/object.ts"
import { GoJsonError, goJsonType, parseGoJson } from "../text/go-json.ts"
import { type FieldError, fieldError, firstErrors } from "../status.ts"
import { FIELD_IMMUTABLE } from "./meta.ts"
import { configKeyErrors } from "./names.ts"

export const SECRET_BYTES_MAX = 1024 * 1024

const SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"

type Data = Readonly<Record<string, string>>

const required = (field: string): FieldError => fieldError("Required", { field })

/** Keys that must all be there. */
const needs =
  (...keys: string[]) =>
  ({ data = {} }: Secret): FieldError[] =>
    keys.filter((key) => !Object.hasOwn(data, key)).map((key) => required(`data[${key}]`))

const needsJson =
  (key: string) =>
  (secret: Secret): FieldError[] => {
    const missing = needs(key)(secret)
    if (missing.length > 0) return missing
    const why = jsonObjectError(Buffer.from(secret.data?.[key] ?? "", "base64").toString())
    if (why === undefined) return []
    const value = "<secret contents redacted>"
    return [fieldError("Invalid", { field: `data[${key}]`, value, detail: why })]
  }

/** What each built-in type asks for; other types ask for nothing. */
const BY_TYPE: Readonly<Record<string, (secret: Secret) => FieldError[]>> = {
  "kubernetes.io/service-account-token": ({ metadata }) =>
    metadata.annotations?.[SERVICE_ACCOUNT_NAME]
      ? []
      : [required(`metadata.annotations[${SERVICE_ACCOUNT_NAME}]`)],
  "kubernetes.io/dockercfg": needsJson(".dockercfg"),
  "kubernetes.io/dockerconfigjson": needsJson(".dockerconfigjson"),
  "kubernetes.io/basic-auth": (secret) => {
    const missing = needs("username", "password")(secret)
    return missing.length === 2 ? missing : []
  },
  "kubernetes.io/ssh-auth": ({ data = {} }) =>
    data["ssh-privatekey"] ? [] : [required("data[ssh-privatekey]")],
  "kubernetes.io/tls": needs("tls.crt", "tls.key"),
}

export function secretErrors(object: KubeObject): FieldError[] {
  const secret = object as Secret
  const { data = {}, type = "" } = secret
  const keys = firstErrors(Object.keys(data), (key) =>
    configKeyErrors(key).map((detail) =>
      fieldError("Invalid", { field: `data[${key}]`, value: key, detail }),
    ),
  )
  const tooLong = fieldError("TooLong", {
    field: "data",
    detail: `may not be more than ${SECRET_BYTES_MAX} bytes`,
  })
  const byType = Object.hasOwn(BY_TYPE, type) ? BY_TYPE[type]?.(secret) : undefined
  return [...keys, ...(dataBytes(data) > SECRET_BYTES_MAX ? [tooLong] : []), ...(byType ?? [])]
}

const dataBytes = (data: Data): number =>
  Object.values(data).reduce((sum, value) => sum + Buffer.byteLength(value, "base64"), 0)

/** What encoding/json says where `text` is no object. */
function jsonObjectError(text: string): string | undefined {
  try {
    const { value } = parseGoJson(text)
    if (value === null || (typeof value === "object" && !Array.isArray(value))) return undefined
    return `json: cannot unmarshal ${goJsonType(value)} into Go value of type map[string]interface {}`
  } catch (error) {
    if (error instanceof GoJsonError) return error.message
    throw error
  }
}

/** Without the rules that hold for any Secret. */
export function secretUpdateErrors(object: KubeObject, old: KubeObject): FieldError[] {
  const [secret, before] = [object as Secret, old as Secret]
  const errors: FieldError[] = []
  if (secret.type !== before.type)
    errors.push(
      fieldError("Invalid", { field: "type", value: secret.type ?? "", detail: FIELD_IMMUTABLE }),
    )
  if (before.immutable !== true) return errors
  const detail = "field is immutable when `immutable` is set"
  if (secret.immutable !== true)
    errors.push(fieldError("Forbidden", { field: "immutable", detail }))
  if (!sameData(secret.data, before.data))
    errors.push(fieldError("Forbidden", { field: "data", detail }))
  return errors
}

function sameData(data: Data = {}, before: Data = {}): boolean {
  const keys = Object.keys(data)
  return (
    keys.length === Object.keys(before).length &&
    keys.every((key) => Object.hasOwn(before, key) && data[key] === before[key])
  )
}
