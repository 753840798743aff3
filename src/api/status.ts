/** Failures as Kubernetes tells them: a Status object, and one constructor for each kind of failure that
 *  kube-apiserver knows. Codes, reasons and messages are its own, to the letter. Where a constructor takes a whole `message`,
 *  its caller owns the words. */

import { goJson, goQuote } from "./text/go-text.ts"

export interface StatusCause {
  readonly reason?: string
  readonly message?: string
  readonly field?: string
}

export interface StatusDetails {
  readonly name?: string
  readonly group?: string
  readonly kind?: string
  readonly uid?: string
  readonly causes?: readonly StatusCause[]
  readonly retryAfterSeconds?: number
}

export interface Status {
  readonly kind: "Status"
  readonly apiVersion: "v1"
  readonly metadata: { readonly continue?: string }
  readonly status: "Failure"
  readonly message: string
  readonly reason?: string
  readonly details?: StatusDetails
  readonly code: number
}

interface StatusInit {
  readonly code: number
  readonly message: string
  readonly reason?: string | undefined
  readonly details?: StatusDetails | undefined
  /** metadata.continue of an expired list. */
  readonly continueToken?: string | undefined
}

/** `message` and the causes are for the client alone, who may read the object: where a patch does not decode, Kubernetes
 *  quotes it with its data. Never log them. */
export class StatusError extends Error {
  readonly code: number
  readonly reason: string | undefined
  readonly details: StatusDetails | undefined
  readonly continueToken: string | undefined

  constructor(init: StatusInit, options?: ErrorOptions) {
    super(init.message, options)
    this.name = "StatusError"
    this.code = init.code
    this.reason = init.reason
    this.details = init.details
    this.continueToken = init.continueToken
  }

  /** The answer's body, its fields in Kubernetes' order. */
  toStatus(): Status {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: this.continueToken === undefined ? {} : { continue: this.continueToken },
      status: "Failure",
      message: this.message,
      ...(this.reason === undefined ? {} : { reason: this.reason }),
      ...(this.details === undefined ? {} : { details: this.details }),
      code: this.code,
    }
  }
}

/** What a failure is about: `resource` is the plural ("secrets"), or the kind where Kubernetes writes the kind. */
export interface ResourceName {
  readonly group?: string | undefined
  readonly resource: string
  readonly name?: string | undefined
}

/** The kind of an invalid object. An empty kind prints as Kubernetes does: ` "" is invalid`. */
export interface KindName {
  readonly group?: string | undefined
  readonly kind: string
  readonly name?: string | undefined
}

const qualified = (word: string, group: string | undefined): string =>
  group ? `${word}.${group}` : word

/** Details without their empty members, as Go's omitempty leaves them. */
const details = (of: KindName, more: StatusDetails = {}): StatusDetails => ({
  ...(of.name ? { name: of.name } : {}),
  ...(of.group ? { group: of.group } : {}),
  ...(of.kind ? { kind: of.kind } : {}),
  ...more,
})

const ofResource = ({ group, resource, name }: ResourceName): StatusDetails =>
  details({ group, kind: resource, name })

export const badRequest = (message: string): StatusError =>
  new StatusError({ code: 400, reason: "BadRequest", message })

export const unauthorized = (message = "Unauthorized"): StatusError =>
  new StatusError({ code: 401, reason: "Unauthorized", message })

/** `because` is what follows "is forbidden: ". */
export function forbidden(what: ResourceName, because: string): StatusError {
  const resource = qualified(what.resource, what.group)
  const subject = what.name
    ? `${resource} ${goQuote(what.name)} is `
    : resource && `${resource} is `
  return new StatusError({
    code: 403,
    reason: "Forbidden",
    message: `${subject}forbidden: ${because}`,
    details: ofResource(what),
  })
}

export const notFound = (what: ResourceName): StatusError =>
  new StatusError({
    code: 404,
    reason: "NotFound",
    message: `${qualified(what.resource, what.group)} ${goQuote(what.name ?? "")} not found`,
    details: ofResource(what),
  })

export const alreadyExists = (what: ResourceName): StatusError =>
  new StatusError({
    code: 409,
    reason: "AlreadyExists",
    message: `${qualified(what.resource, what.group)} ${goQuote(what.name ?? "")} already exists`,
    details: ofResource(what),
  })

export const MODIFIED =
  "the object has been modified; please apply your changes to the latest version and try again"

export const conflict = (what: ResourceName, because: string = MODIFIED): StatusError =>
  new StatusError({
    code: 409,
    reason: "Conflict",
    message:
      `Operation cannot be fulfilled on ${qualified(what.resource, what.group)} ` +
      `${goQuote(what.name ?? "")}: ${because}`,
    details: ofResource(what),
  })

/** Server-side apply met fields of other managers; the details name no object. */
export const applyConflict = (message: string, causes: readonly StatusCause[]): StatusError =>
  new StatusError({ code: 409, reason: "Conflict", message, details: { causes } })

/** A resourceVersion or continue token that compaction has passed. `continueToken` lets a list go on from now. */
export const expired = (message: string, next: { continueToken?: string } = {}): StatusError =>
  new StatusError({ code: 410, reason: "Expired", message, ...next })

export const tooLarge = (message: string): StatusError =>
  new StatusError({
    code: 413,
    reason: "RequestEntityTooLarge",
    message: `Request entity too large: ${message}`,
  })

/** The body was not here in time: nothing was done. */
export const tooSlow = (msMax: number): StatusError =>
  new StatusError({
    code: 408,
    reason: "Timeout",
    message: `Timeout: the body of the request did not come within ${msMax / 1000} seconds`,
  })

export const unsupportedMediaType = (accepted: readonly string[]): StatusError =>
  new StatusError({
    code: 415,
    reason: "UnsupportedMediaType",
    message:
      "the body of the request was in an unknown format - " +
      `accepted media types include: ${accepted.join(", ")}`,
  })

export const notAcceptable = (accepted: readonly string[]): StatusError =>
  new StatusError({
    code: 406,
    reason: "NotAcceptable",
    message: `only the following media types are accepted: ${accepted.join(", ")}`,
  })

export const tooManyRequests = (message: string, retryAfterSeconds: number): StatusError =>
  new StatusError({ code: 429, reason: "TooManyRequests", message, details: { retryAfterSeconds } })

/** `cause` reaches only the log. */
export const internalError = (message: string, cause?: unknown): StatusError =>
  new StatusError(
    {
      code: 500,
      reason: "InternalError",
      message: `Internal error occurred: ${message}`,
      details: { causes: [{ message }] },
    },
    { cause },
  )

export const serviceUnavailable = (message: string): StatusError =>
  new StatusError({ code: 503, reason: "ServiceUnavailable", message })

/** Nobody gets it. It is what ends the work for a client that has left, and no failure that the log is to tell of. */
export const clientGone = (): StatusError =>
  new StatusError({ code: 499, message: "the client has gone" })

/** The outcome of the operation is unknown to the client. */
export const timeout = (message: string): StatusError =>
  new StatusError({ code: 504, reason: "Timeout", message: `Timeout: ${message}`, details: {} })

/** A list or watch asks for a revision that this store has not reached. */
export const resourceVersionTooLarge = (seen: { wanted: string; current: string }): StatusError =>
  new StatusError({
    code: 504,
    reason: "Timeout",
    message: `Timeout: Too large resource version: ${seen.wanted}, current: ${seen.current}`,
    details: {
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
      retryAfterSeconds: 1,
    },
  })

// biome-ignore format: a table
const GENERIC = {
  404: ["NotFound",             "the server could not find the requested resource"],
  405: ["MethodNotAllowed",     "the server does not allow this method on the requested resource"],
  422: ["Invalid",              "the server rejected our request due to an error in our request"],
} as const

/** A failure that names no object: a path that is not there, a method that it does not take, a patch that does not fit. */
export function genericFailure(code: keyof typeof GENERIC): StatusError {
  const [reason, message] = GENERIC[code]
  return new StatusError({ code, reason, message, details: {} })
}

export const methodNotAllowed = (): StatusError => genericFailure(405)

// biome-ignore format: a table
const FIELD_ERRORS = {
  Invalid:      ["FieldValueInvalid",      "Invalid value"],
  NotSupported: ["FieldValueNotSupported", "Unsupported value"],
  Duplicate:    ["FieldValueDuplicate",    "Duplicate value"],
  Required:     ["FieldValueRequired",     "Required value"],
  Forbidden:    ["FieldValueForbidden",    "Forbidden"],
  TooLong:      ["FieldValueTooLong",      "Too long"],
} as const

/** One wrong field, as a cause shows it. */
export interface FieldError {
  readonly reason: (typeof FIELD_ERRORS)[keyof typeof FIELD_ERRORS][0]
  readonly message: string
  readonly field: string
}

/** `value` is printed where it is given: leave it out, or a stand-in, where it is secret. */
export function fieldError(
  type: keyof typeof FIELD_ERRORS,
  error: { field: string; value?: unknown; detail?: string; supported?: readonly string[] },
): FieldError {
  const [reason, title] = FIELD_ERRORS[type]
  const parts: string[] = [title]
  if (error.value !== undefined)
    parts.push(typeof error.value === "string" ? goQuote(error.value) : goJson(error.value))
  if (error.detail) parts.push(error.detail)
  if (error.supported) parts.push(`supported values: ${error.supported.map(goQuote).join(", ")}`)
  return { reason, message: parts.join(": "), field: error.field }
}

/** An object can be wrong in more places than anybody reads. */
const CAUSES_MAX = 100

/** What is wrong with items, as far as it is told. */
export const firstErrors = <T>(
  items: readonly T[],
  errorsOf: (item: T, index: number) => readonly FieldError[],
): FieldError[] => items.values().flatMap(errorsOf).take(CAUSES_MAX).toArray()

/** 422: the wrong fields in one answer, the first {@link CAUSES_MAX} of them. The message says equal errors once, the causes list
 *  each. */
export function invalid(what: KindName, wrong: readonly FieldError[]): StatusError {
  const errors = wrong.slice(0, CAUSES_MAX)
  const lines = [...new Set(errors.map(({ field, message }) => `${field}: ${message}`))]
  const all = lines.length === 1 ? lines[0] : `[${lines.join(", ")}]`
  const name = goQuote(what.name ?? "")
  return new StatusError({
    code: 422,
    reason: "Invalid",
    message: `${qualified(what.kind, what.group)} ${name} is invalid: ${all}`,
    details: details(what, { causes: errors }),
  })
}
