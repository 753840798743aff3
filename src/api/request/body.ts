/** Request bodies: JSON, YAML or protobuf becomes an object of the kind that the path names, or a 400 in
 *  kube-apiserver's words. A body without kind and apiVersion is of that kind. */

import { isKnown } from "../../errors.ts"
import { decodeObject } from "../../format/codec.ts"
import { DeleteOptions } from "../../format/meta.ts"
import type { KubeObject } from "../../format/object.ts"
import { isRecord, type Message } from "../../format/schema.ts"
import { decodeTyped } from "./decode.ts"
import { applyDefaults } from "../kinds/defaults.ts"
import { GoJsonError, goJsonType, type ParsedJson, parseGoJson } from "../text/go-json.ts"
import { goQuote } from "../text/go-text.ts"
import { type MediaType, PROTOBUF_TYPE, YAML_TYPE } from "./negotiate.ts"
import type { DeleteBody, FieldValidation } from "./options.ts"
import { apiVersionOf, type Resource } from "../kinds/resources.ts"
import { badRequest, type StatusError } from "../status.ts"
import { parseYaml } from "../text/yaml-read.ts"

/** The largest body that is read. */
export const BODY_BYTES_MAX = 3 * 1024 * 1024

export interface Decoded {
  readonly object: KubeObject
  /** What a strict reader objects to, where the request asked for warnings. */
  readonly warnings: readonly string[]
}

/** What a body must be. */
interface Expected {
  readonly apiVersion: string
  readonly kind: string
  readonly message: Message
}

/** Throws 400. */
export function decodeBody(
  resource: Resource,
  body: Buffer,
  how: { readonly mediaType: MediaType; readonly fieldValidation: FieldValidation },
): Decoded {
  const { message, kind } = resource
  const expected = { apiVersion: apiVersionOf(resource), kind, message }
  const { object, problems } =
    how.mediaType === PROTOBUF_TYPE
      ? { object: fromProtobuf(expected, body), problems: [] }
      : fromText(expected, body, how.mediaType)
  if (problems.length > 0 && how.fieldValidation === "Strict")
    throw cannotBeHandled(object, expected, `strict decoding error: ${problems.join(", ")}`)
  return {
    object: applyDefaults(object),
    warnings: how.fieldValidation === "Warn" ? problems : [],
  }
}

/** A JSON value (a patched object) as an object of the resource, without defaults. Throws {@link GoJsonError}. */
export function typedObject(
  resource: Resource,
  value: unknown,
): { object: KubeObject; problems: readonly string[] } {
  const { fields, problems } = decodeTyped(resource.message, { value, duplicates: new Map() })
  return { object: withType(apiVersionOf(resource), resource.kind, fields), problems }
}

/** Throws 400. */
export function decodeDeleteBody(body: Buffer, mediaType: MediaType): DeleteBody {
  const read = () => {
    const sent = mediaType === PROTOBUF_TYPE ? deleteProtobuf(body) : parseText(body, mediaType)
    const { apiVersion, kind } = readType(sent.value)
    if (kind === "" || kind === DeleteOptions.name) return decodeTyped(DeleteOptions, sent).fields
    throw badRequest(notRegistered({ apiVersion, kind }))
  }
  return orGoError(read, badRequest)
}

function deleteProtobuf(body: Buffer): ParsedJson {
  try {
    return { value: decodeObject(body), duplicates: new Map() }
  } catch (error) {
    if (isKnown(error, "ValueCorrupt", "ObjectInvalid")) throw badRequest(error.message)
    throw error
  }
}

function fromProtobuf(expected: Expected, body: Buffer): KubeObject {
  try {
    const object = decodeObject(body)
    checkKind(object, expected)
    return object
  } catch (error) {
    if (isKnown(error, "ValueCorrupt", "ObjectInvalid"))
      throw unrecognized(expected, error.message, body)
    throw error
  }
}

function fromText(
  expected: Expected,
  body: Buffer,
  mediaType: MediaType,
): { object: KubeObject; problems: readonly string[] } {
  const parsed = parse(expected, body, mediaType)
  const seen = orGoError(
    () => readType(parsed.value),
    (text) => unrecognized(expected, `couldn't get version/kind; json parse error: ${text}`, body),
  )
  const type = {
    apiVersion: seen.apiVersion || expected.apiVersion,
    kind: seen.kind || expected.kind,
  }
  checkKind(type, expected)
  const { fields, problems } = orGoError(
    () => decodeTyped(expected.message, parsed),
    (text) => cannotBeHandled(type, expected, text),
  )
  const object = withType(type.apiVersion, type.kind, fields)
  return { object, problems: [...problems, ...(parsed.problems ?? [])] }
}

function parse(
  expected: Expected,
  body: Buffer,
  mediaType: MediaType,
): ParsedJson & { problems?: readonly string[] } {
  return orGoError(
    () => parseText(body, mediaType),
    (text) => {
      const what = mediaType === YAML_TYPE ? "" : "couldn't get version/kind; json parse error: "
      return unrecognized(expected, `${what}${text}`, body)
    },
  )
}

/** Throws {@link GoJsonError}. */
const parseText = (body: Buffer, mediaType: MediaType) =>
  mediaType === YAML_TYPE ? parseYaml(body.toString()) : parseGoJson(body.toString())

function orGoError<T>(read: () => T, toStatus: (text: string) => StatusError): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof GoJsonError) throw toStatus(error.message)
    throw error
  }
}

/** Empty where the body does not say. Throws {@link GoJsonError}. */
function readType(value: unknown): { apiVersion: string; kind: string } {
  const what =
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
  if (value !== null && !isRecord(value))
    throw new GoJsonError(
      `json: cannot unmarshal ${goJsonType(value)} into Go value of type ${what}`,
    )
  const text = (name: "apiVersion" | "kind") => {
    const given = value?.[name] ?? ""
    if (typeof given === "string") return given
    throw new GoJsonError(
      `json: cannot unmarshal ${goJsonType(given)} into Go struct field .${name} of type string`,
    )
  }
  return { apiVersion: text("apiVersion"), kind: text("kind") }
}

function checkKind(type: { apiVersion: string; kind: string }, expected: Expected): void {
  if (type.apiVersion === expected.apiVersion && type.kind === expected.kind) return
  const hub = expected.apiVersion.split("/")[0]?.split(".")[0]
  throw cannotBeHandled(
    type,
    expected,
    type.apiVersion === expected.apiVersion
      ? `converting (${versionOf(type)}.${type.kind}) to ` +
          `(${hub === "v1" ? "core" : hub}.${expected.kind}): unknown conversion`
      : notRegistered(type),
  )
}

const notRegistered = (type: { apiVersion: string; kind: string }): string =>
  `no kind ${goQuote(type.kind)} is registered for version ${goQuote(type.apiVersion)} in scheme "keyturn"`

const versionOf = ({ apiVersion }: { apiVersion: string }): string =>
  apiVersion.slice(apiVersion.lastIndexOf("/") + 1)

const cannotBeHandled = (
  type: { readonly apiVersion: string; readonly kind: string },
  expected: Expected,
  why: string,
): StatusError =>
  badRequest(
    `${type.kind} in version ${goQuote(versionOf(type))} cannot be handled as a ${expected.kind}: ${why}`,
  )

const unrecognized = (expected: Expected, why: string, body: Buffer): StatusError =>
  badRequest(
    `the object provided is unrecognized (must be of type ${expected.kind}): ${why} (${summary(body)})`,
  )

const SUMMARY_BYTES_MAX = 30

/** How a body that cannot be read begins. */
function summary(body: Buffer): string {
  if (body.length === 0) return "<empty>"
  const start = body.subarray(0, SUMMARY_BYTES_MAX)
  const text = body[0] === 0x7b ? start.toString() : start.toString("hex")
  return body.length > SUMMARY_BYTES_MAX ? `${text} ...` : text
}

const withType = (apiVersion: string, kind: string, fields: Record<string, unknown>): KubeObject =>
  ({ kind, apiVersion, ...fields }) as KubeObject
