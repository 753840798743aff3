/** Query parameters: which are read, how each is parsed, and what may not stand together. The messages are
 *  kube-apiserver's. */

import { parseDuration, parseInt64 } from "../text/go-values.ts"
import { goQuote } from "../text/go-text.ts"
import { badRequest, type FieldError, fieldError, invalid } from "../status.ts"
import { FIELD_MANAGER_BYTES_MAX, fieldManagerErrors } from "../validation/meta.ts"

export type FieldValidation = "Ignore" | "Warn" | "Strict"

export interface WriteOptions {
  readonly dryRun: boolean
  /** Empty: not given. */
  readonly fieldManager: string
  readonly fieldValidation: FieldValidation
}

export interface PatchOptions extends WriteOptions {
  /** Server-side apply takes fields from other managers. */
  readonly force: boolean
}

export interface ListOptions {
  readonly labelSelector: string
  readonly fieldSelector: string
  readonly watch: boolean
  readonly allowWatchBookmarks: boolean
  readonly sendInitialEvents: boolean | undefined
  /** Empty: not given. */
  readonly resourceVersion: string
  readonly resourceVersionMatch: "" | "Exact" | "NotOlderThan"
  readonly timeoutSeconds: number | undefined
  /** 0: no limit. */
  readonly limit: number
  /** Empty: from the start. */
  readonly continue: string
}

/** The longest that a request other than a watch may take. */
const TIMEOUT_MS_MAX = 60_000
const FIELD_VALIDATIONS: readonly string[] = ["", "Ignore", "Strict", "Warn"]

/** Anything but `0` and `false` is true, nothing at all too: Kubernetes' own rule. Undefined: not given. */
export function readBoolean(query: URLSearchParams, name: string): boolean | undefined {
  const text = query.get(name)
  return text === null ? undefined : text !== "0" && text.toLowerCase() !== "false"
}

function readInteger(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  const value = parseInt64(text)
  if (typeof value === "number") return value
  throw badRequest(value.error)
}

const dryRunErrors = (values: readonly string[]): FieldError[] =>
  values.every((value) => value === "All")
    ? []
    : [fieldError("NotSupported", { field: "dryRun", value: values, supported: ["All"] })]

const fieldValidationErrors = (value: string): FieldError[] =>
  FIELD_VALIDATIONS.includes(value)
    ? []
    : [
        fieldError("NotSupported", {
          field: "fieldValidation",
          value,
          supported: FIELD_VALIDATIONS,
        }),
      ]

function throwInvalid(kind: string, errors: readonly FieldError[]): void {
  if (errors.length > 0) throw invalid({ group: "meta.k8s.io", kind }, errors)
}

function readWriteOptions(
  kind: string,
  query: URLSearchParams,
  before: readonly FieldError[],
): WriteOptions {
  const fieldManager = query.get("fieldManager") ?? ""
  const dryRun = query.getAll("dryRun")
  const fieldValidation = query.get("fieldValidation") ?? ""
  throwInvalid(kind, [
    ...before,
    ...fieldManagerErrors("fieldManager", fieldManager),
    ...dryRunErrors(dryRun),
    ...fieldValidationErrors(fieldValidation),
  ])
  return {
    dryRun: dryRun.length > 0,
    fieldManager,
    fieldValidation: (fieldValidation || "Warn") as FieldValidation,
  }
}

/** Throws 422. */
export const createOptions = (query: URLSearchParams): WriteOptions =>
  readWriteOptions("CreateOptions", query, [])

/** Throws 422. */
export const updateOptions = (query: URLSearchParams): WriteOptions =>
  readWriteOptions("UpdateOptions", query, [])

/** Throws 422. */
export function patchOptions(
  query: URLSearchParams,
  patch: { readonly isApply: boolean },
): PatchOptions {
  const force = readBoolean(query, "force")
  const errors: FieldError[] = []
  if (patch.isApply && !query.get("fieldManager"))
    errors.push(
      fieldError("Required", { field: "fieldManager", detail: "is required for apply patch" }),
    )
  if (!patch.isApply && force !== undefined)
    errors.push(
      fieldError("Forbidden", {
        field: "force",
        detail: "may not be specified for non-apply patch",
      }),
    )
  return { ...readWriteOptions("PatchOptions", query, errors), force: force ?? false }
}

/** Who writes: the fieldManager, or else the program that the User-Agent begins with. */
export const managerOf = (
  { fieldManager }: WriteOptions,
  userAgent: string | undefined,
): string => {
  const program = (userAgent ?? "").split("/")[0] ?? ""
  const printable = program.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, "")
  const { read } = new TextEncoder().encodeInto(printable, new Uint8Array(FIELD_MANAGER_BYTES_MAX))
  return fieldManager || printable.slice(0, read) || "unknown"
}

/** Throws 400, 422. */
export function listOptions(query: URLSearchParams): ListOptions {
  const options = {
    labelSelector: query.get("labelSelector") ?? "",
    fieldSelector: query.get("fieldSelector") ?? "",
    watch: readBoolean(query, "watch") ?? false,
    allowWatchBookmarks: readBoolean(query, "allowWatchBookmarks") ?? false,
    sendInitialEvents: readBoolean(query, "sendInitialEvents"),
    resourceVersion: query.get("resourceVersion") ?? "",
    resourceVersionMatch: query.get("resourceVersionMatch") ?? "",
    timeoutSeconds: readInteger(query, "timeoutSeconds"),
    limit: Math.min(readInteger(query, "limit") ?? 0, Number.MAX_SAFE_INTEGER),
    continue: query.get("continue") ?? "",
  }
  throwInvalid("ListOptions", options.watch ? watchErrors(options) : listErrors(options))
  return options as ListOptions
}

type RawListOptions = Omit<ListOptions, "resourceVersionMatch"> & { resourceVersionMatch: string }

const matchForbidden = (detail: string): FieldError =>
  fieldError("Forbidden", { field: "resourceVersionMatch", detail })

function listErrors(options: RawListOptions): FieldError[] {
  const { resourceVersionMatch: match, resourceVersion } = options
  const errors: FieldError[] = []
  if (match !== "") {
    if (resourceVersion === "")
      errors.push(
        matchForbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"),
      )
    if (options.continue !== "")
      errors.push(matchForbidden("resourceVersionMatch is forbidden when continue is provided"))
    if (match !== "Exact" && match !== "NotOlderThan")
      errors.push(unsupportedMatch(match, ["Exact", "NotOlderThan", ""]))
    if (match === "Exact" && resourceVersion === "0")
      errors.push(
        matchForbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
      )
  }
  if (options.sendInitialEvents !== undefined)
    errors.push(
      fieldError("Forbidden", {
        field: "sendInitialEvents",
        detail: "sendInitialEvents is forbidden for list",
      }),
    )
  return errors
}

function watchErrors(options: RawListOptions): FieldError[] {
  const { resourceVersionMatch: match, sendInitialEvents } = options
  const errors: FieldError[] = []
  if (sendInitialEvents !== undefined && match !== "NotOlderThan")
    errors.push(
      matchForbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
    )
  if (match === "") return errors
  if (sendInitialEvents === undefined)
    errors.push(
      matchForbidden(
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
      ),
    )
  if (match !== "NotOlderThan") errors.push(unsupportedMatch(match, ["NotOlderThan"]))
  if (options.continue !== "")
    errors.push(matchForbidden("resourceVersionMatch is forbidden when continue is provided"))
  return errors
}

const unsupportedMatch = (value: string, supported: readonly string[]): FieldError =>
  fieldError("NotSupported", { field: "resourceVersionMatch", value, supported })

/** A resourceVersion as a revision; undefined for none or `0`, "any". Throws 400. */
export function revisionOf(resourceVersion: string): number | undefined {
  if (resourceVersion === "" || resourceVersion === "0") return undefined
  if (/^[0-9]+$/.test(resourceVersion))
    return Math.min(Number(resourceVersion), Number.MAX_SAFE_INTEGER)
  const error = `strconv.ParseUint: parsing ${goQuote(resourceVersion)}: invalid syntax`
  throw badRequest(
    `invalid resource version: resourceVersion: Invalid value: ${goQuote(resourceVersion)}: ${error}`,
  )
}

/** What decides about a delete; from the body, or else from the query. */
export interface DeleteBody {
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string }
  readonly orphanDependents?: boolean
  readonly propagationPolicy?: string
  readonly dryRun?: readonly string[]
  readonly ignoreStoreReadErrorWithClusterBreakingPotential?: boolean
}

export interface DeleteOptions {
  readonly preconditions: { readonly uid?: string; readonly resourceVersion?: string }
  /** Undefined: the finalizers of the object decide. */
  readonly propagation: "Orphan" | "Background" | "Foreground" | undefined
  readonly dryRun: boolean
}

const PROPAGATION_POLICIES: readonly string[] = ["Foreground", "Background", "Orphan"]

/** `body`: undefined where the request has none; then the query says it all. Throws 400, 422. */
export function deleteOptions(query: URLSearchParams, body: DeleteBody | undefined): DeleteOptions {
  const options = body ?? deleteQuery(query)
  throwInvalid("DeleteOptions", deleteErrors(options))
  const { orphanDependents, propagationPolicy, preconditions = {}, dryRun = [] } = options
  const byOrphan =
    orphanDependents === undefined ? undefined : orphanDependents ? "Orphan" : "Background"
  return {
    preconditions,
    propagation: (propagationPolicy as DeleteOptions["propagation"]) ?? byOrphan,
    dryRun: dryRun.length > 0,
  }
}

function deleteQuery(query: URLSearchParams): DeleteBody {
  // Checked, and never obeyed: no kind here needs time to end.
  readInteger(query, "gracePeriodSeconds")
  const orphanDependents = readBoolean(query, "orphanDependents")
  const propagationPolicy = query.get("propagationPolicy") || undefined
  return {
    ...(orphanDependents === undefined ? {} : { orphanDependents }),
    ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
    dryRun: query.getAll("dryRun"),
  }
}

function deleteErrors(options: DeleteBody): FieldError[] {
  const { propagationPolicy: value, orphanDependents } = options
  const field = "propagationPolicy"
  const errors: FieldError[] = []
  if (orphanDependents !== undefined && value !== undefined) {
    const detail = "orphanDependents and deletionPropagation cannot be both set"
    errors.push(fieldError("Invalid", { field, value, detail }))
  }
  if (value !== undefined && !PROPAGATION_POLICIES.includes(value)) {
    const supported = [...PROPAGATION_POLICIES, "nil"]
    errors.push(fieldError("NotSupported", { field, value, supported }))
  }
  return [...errors, ...dryRunErrors(options.dryRun ?? [])]
}

/** How long a request would give itself, in milliseconds. It is checked and not obeyed: no request ends by it. Throws 400. */
export function requestTimeoutMs(query: URLSearchParams): number {
  const text = query.get("timeout")
  if (!text) return TIMEOUT_MS_MAX
  const timeoutMs = parseDuration(text)
  if (typeof timeoutMs !== "number")
    throw badRequest(`invalid timeout specified in the request URL - ${timeoutMs.error}`)
  return timeoutMs <= 0 ? TIMEOUT_MS_MAX : Math.min(timeoutMs, TIMEOUT_MS_MAX)
}

export type IncludeObject = "None" | "Metadata" | "Object"

/** What each row of a Table carries of its object. Throws 400. */
export function includeObject(query: URLSearchParams): IncludeObject {
  const value = query.get("includeObject") || "Metadata"
  if (value === "None" || value === "Metadata" || value === "Object") return value
  const { field, message } = fieldError("Invalid", {
    field: "includeObject",
    value,
    detail: "must be 'Metadata', 'Object', 'None', or empty",
  })
  throw badRequest(`Unable to convert to Table as requested: ${field}: ${message}`)
}
