/** A PATCH request, of any of the four kinds, from its body to the object to store with its managedFields. What is
 *  stored, whether it is valid and whether the resourceVersion still holds, is for the caller. */

import type { KubeObject } from "../../format/object.ts"
import { isRecord } from "../../format/schema.ts"
import {
  GoJsonError,
  goJsonType,
  type ParsedJson,
  parseGoJson,
  PROBLEMS_MAX,
} from "../text/go-json.ts"
import { goJson, goPrint, goQuote } from "../text/go-text.ts"
import { applyPatch, LAST_APPLIED } from "../managed-fields/apply.ts"
import { trackUpdate } from "../managed-fields/track.ts"
import {
  badRequest,
  conflict,
  fieldError,
  genericFailure,
  invalid,
  notFound,
  type StatusError,
  tooLarge,
  unsupportedMediaType,
} from "../status.ts"
import { parseYaml } from "../text/yaml-read.ts"
import { applyJsonPatch, type Operation, PatchMisfit } from "./json-patch.ts"
import { mergePatch } from "./merge-patch.ts"
import { strategicMerge } from "./strategic.ts"

const JSON_PATCH = "application/json-patch+json"
const MERGE_PATCH = "application/merge-patch+json"
const STRATEGIC_PATCH = "application/strategic-merge-patch+json"
const APPLY_PATCH = "application/apply-patch+yaml"

/** In the order in which kube-apiserver lists them. */
export const PATCH_TYPES = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH] as const

const OPERATIONS_MAX = 10_000

export interface Decoded {
  readonly object: KubeObject
  /** What a strict reader objects to: `unknown field "foo"`. */
  readonly problems: readonly string[]
}

export interface PatchRequest {
  /** The Content-Type header without its parameters. */
  readonly mediaType: string
  readonly body: string
  /** Undefined where nothing is stored under the name. */
  readonly live: KubeObject | undefined
  readonly target: {
    readonly group?: string
    readonly resource: string
    readonly apiVersion: string
    readonly kind: string
    readonly name: string
    /** Undefined for kinds of the cluster. */
    readonly namespace?: string | undefined
  }
  readonly subresource?: string | undefined
  /** Who writes: the fieldManager, or else the user agent. */
  readonly manager: string
  readonly force: boolean
  readonly fieldValidation: "Ignore" | "Warn" | "Strict"
  readonly now: Date
  /** The kind's reader of JSON values: types checked, defaults filled in, stringData written to data. Throws GoJsonError. */
  decode(value: unknown): Decoded
}

export interface Patched {
  readonly object: KubeObject
  /** What Warn tells the client; empty for Ignore, and for Strict, which throws. */
  readonly warnings: readonly string[]
}

/** Throws StatusError. */
export function patchObject(request: PatchRequest): Patched {
  const { live, mediaType, target } = request
  if (mediaType === APPLY_PATCH) return applied(request)
  const patch = PATCHES.get(mediaType)
  if (patch === undefined) throw unsupportedMediaType(PATCH_TYPES)
  if (live === undefined) throw notFound(target)
  const { object, problems } = patch({ ...request, live })
  const { manager, now, subresource } = request
  const next = atItsAddress(target, object)
  const tracked = trackUpdate({ live, next, manager, now, subresource })
  return { object: tracked, warnings: problems }
}

type Patch = (request: PatchRequest & { live: KubeObject }) => Decoded

const jsonPatch: Patch = (request) => {
  const { operations, problems } = readOperations(request)
  if (operations.length > OPERATIONS_MAX) {
    const limit = `The allowed maximum operations in a JSON patch is ${OPERATIONS_MAX}`
    throw tooLarge(`${limit}, got ${operations.length}`)
  }
  try {
    const patched = applyJsonPatch(request.live, operations)
    const shown = goJson(showable(request, patched))
    return decoded(request, { patched, problems, shown })
  } catch (error) {
    throw error instanceof PatchMisfit ? genericFailure(422) : error
  }
}

const jsonMergePatch: Patch = (request) => {
  const isChecked = request.fieldValidation !== "Ignore"
  const parsed = parsePatch(request.body, (why) =>
    isChecked ? `error decoding patch: ${why}` : "Invalid JSON Patch",
  )
  const { value } = parsed
  if (isChecked && value !== null && !isRecord(value))
    throw badRequest(`error decoding patch: ${notAMap(value)}`)
  if (typeof value !== "object" || value === null) throw badRequest("Invalid JSON Patch")
  const patched = mergePatch(request.live, value)
  const shown = goJson(showable(request, patched))
  return decoded(request, { patched, problems: repeated(parsed), shown })
}

const strategicPatch: Patch = (request) => {
  const parsed = parsePatch(request.body, (why) => why)
  const patch = parsed.value ?? {}
  if (!isRecord(patch)) throw badRequest(notAMap(patch))
  const patched = strategicMerge(request.live, patch)
  return decoded(request, {
    patched,
    problems: repeated(parsed),
    shown: goPrint(showable(request, patch)),
    explain: (why) => (why.startsWith("illegal base64") ? `error decoding from json: ${why}` : why),
  })
}

const PATCHES: ReadonlyMap<string, Patch> = new Map([
  [JSON_PATCH, jsonPatch],
  [MERGE_PATCH, jsonMergePatch],
  [STRATEGIC_PATCH, strategicPatch],
])

const notAMap = (value: unknown): string =>
  `json: cannot unmarshal ${goJsonType(value)} into Go value of type map[string]interface {}`

function parsePatch(body: string, explain: (why: string) => string): ParsedJson {
  try {
    return parseGoJson(body)
  } catch (error) {
    throw error instanceof GoJsonError ? badRequest(explain(error.message)) : error
  }
}

/** `duplicate field "data.a"` for each name that an object of the patch has more than once, up to {@link PROBLEMS_MAX}. */
function repeated({ value, duplicates }: ParsedJson): string[] {
  function* walk(item: unknown, path: string): Generator<string> {
    if (typeof item !== "object" || item === null) return
    for (const [key, below] of Object.entries(item)) {
      const name = Array.isArray(item) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`
      if (duplicates.get(item)?.has(key)) yield `duplicate field ${goQuote(name)}`
      yield* walk(below, name)
    }
  }
  return duplicates.size === 0 ? [] : [...walk(value, "").take(PROBLEMS_MAX)]
}

const OPERATION_FIELDS = ["op", "path", "from", "value"]

function readOperations(request: PatchRequest): {
  operations: readonly Operation[]
  problems: readonly string[]
} {
  const isChecked = request.fieldValidation !== "Ignore"
  const prefix = isChecked ? "error decoding patch: " : ""
  const parsed = parsePatch(request.body, (why) => prefix + why)
  const [list, item] = isChecked
    ? ["[]handlers.jsonPatchOp", "handlers.jsonPatchOp"]
    : ["jsonpatch.Patch", "jsonpatch.Operation"]
  const mismatch = (value: unknown, where: string): StatusError =>
    badRequest(`${prefix}json: cannot unmarshal ${goJsonType(value)} into Go ${where}`)
  const { value } = parsed
  if (value !== null && !Array.isArray(value)) throw mismatch(value, `value of type ${list}`)
  const unknown: string[] = []
  const operations = (value ?? []).map((operation: unknown, index: number) => {
    if (operation === null) return {}
    if (!isRecord(operation)) throw mismatch(operation, `value of type ${item}`)
    for (const [key, field] of Object.entries(operation)) {
      if (!OPERATION_FIELDS.includes(key)) {
        if (unknown.length < PROBLEMS_MAX)
          unknown.push(`unknown field ${goQuote(`[${index}].${key}`)}`)
      } else if (isChecked && key !== "value" && field !== null && typeof field !== "string")
        throw mismatch(field, `struct field jsonPatchOp.${key} of type string`)
    }
    return operation
  })
  const problems = [...unknown, ...repeated(parsed)].map((problem) => `json patch ${problem}`)
  return { operations, problems }
}

interface Result {
  readonly patched: unknown
  readonly problems: readonly string[]
  /** What a message about the patch shows of it. */
  readonly shown: string
  explain?(why: string): string
}

const HIDDEN = "***"
const SHOWN_OF_SECRETS = ["apiVersion", "kind", "type"]

/** What a message may show of an object, or of a patch: of a Secret no value that may be secret, also where it stands in
 *  the wrong field or in what kubectl applied last. */
function showable({ target }: PatchRequest, object: unknown): unknown {
  if (target.resource !== "secrets") return object
  return mapped(object, (value, field) => {
    if (SHOWN_OF_SECRETS.includes(field)) return value
    if (field !== "metadata") return isRecord(value) ? mapped(value, () => HIDDEN) : HIDDEN
    return mapped(value, (part, name) =>
      name === "annotations"
        ? mapped(part, (text, key) => (key === LAST_APPLIED ? HIDDEN : text))
        : part,
    )
  })
}

const mapped = (value: unknown, of: (item: unknown, key: string) => unknown): unknown =>
  isRecord(value)
    ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, of(item, key)]))
    : value

/** The patched object, read as one that a client sent. */
function decoded(
  request: PatchRequest,
  { patched, problems, shown, explain = (why) => why }: Result,
): Decoded {
  const refuse = (detail: string): StatusError =>
    invalid({ kind: "" }, [fieldError("Invalid", { field: "patch", value: shown, detail })])
  const read = () => {
    try {
      return request.decode(patched)
    } catch (error) {
      throw error instanceof GoJsonError ? refuse(explain(error.message)) : error
    }
  }
  const result = read()
  if (request.fieldValidation === "Ignore") return { object: result.object, problems: [] }
  const all = [...problems, ...result.problems]
  if (request.fieldValidation === "Strict" && all.length > 0)
    throw refuse(`strict decoding error: ${all.join(", ")}`)
  return { object: result.object, problems: all }
}

function applied(request: PatchRequest): Patched {
  const { body, live, target, fieldValidation } = request
  const { value, problems } = readConfiguration(body)
  const object = applyPatch({
    ...request,
    applied: value,
    decode: (merged) => atItsAddress(target, request.decode(merged).object),
  })
  const uid = live === undefined ? object.metadata.uid : undefined
  if (uid) {
    const why = `the provided object specified uid ${uid}, and no existing object was found`
    throw conflict(target, `uid mismatch: ${why}`)
  }
  const twice = problems.map((problem) => `error converting YAML to JSON: ${problem}`)
  if (fieldValidation === "Strict" && twice.length > 0)
    throw badRequest(`error strict decoding patch: ${twice.join(", ")}`)
  return { object, warnings: fieldValidation === "Warn" ? twice : [] }
}

/** YAML. Most clients send JSON, which is also YAML and is read much faster. */
function readConfiguration(body: string): { value: unknown; problems: readonly string[] } {
  try {
    const { value, duplicates } = parseGoJson(body)
    if (duplicates.size === 0) return { value, problems: [] }
  } catch (error) {
    if (!(error instanceof GoJsonError)) throw error
  }
  try {
    return parseYaml(body)
  } catch (error) {
    throw error instanceof GoJsonError
      ? badRequest(`error decoding patch: ${error.message}`)
      : error
  }
}

/** The object under the namespace and name of its URL, or 400 where it names others. */
function atItsAddress({ name, namespace }: PatchRequest["target"], object: KubeObject): KubeObject {
  const { namespace: given, ...metadata } = object.metadata
  if (given && namespace !== undefined && given !== namespace)
    throw badRequest(
      "the namespace of the provided object does not match the namespace sent on the request",
    )
  if (metadata.name !== name) {
    const seen = metadata.name ?? ""
    throw badRequest(
      `the name of the object (${seen}) does not match the name on the URL (${name})`,
    )
  }
  if (given === namespace) return object
  return { ...object, metadata: { name, ...(namespace ? { namespace } : {}), ...metadata } }
}
