/** From any failure to the Status that a client gets. What is not foreseen says nothing of itself: the log has it. */

import { ERRORS, isKnown, type KnownError } from "../../errors.ts"
import {
  expired,
  internalError,
  resourceVersionTooLarge,
  serviceUnavailable,
  StatusError,
  timeout,
} from "../status.ts"

export function statusErrorOf(error: unknown): StatusError {
  if (error instanceof StatusError) return error
  if (isKnown(error)) return ofKnown(error)
  return internalError("unexpected failure, see the server's log", error)
}

function ofKnown(error: KnownError): StatusError {
  switch (error.code) {
    case "Compacted":
      return expired("The resourceVersion for the provided list is too old.")
    case "SlowWatcher":
      return expired(error.message)
    case "StoreUnavailable":
    case "StoreRefused":
      return serviceUnavailable(error.message)
    case "OutcomeUnknown":
      return timeout(error.message)
    case "ValueCorrupt":
    case "KeyDidNotOpen":
    case "KeyDestroyed":
    case "RecordCorrupt":
    case "StoreCorrupt":
      return internalError(error.message, error)
    default:
      return withHint(error)
  }
}

/** Kubernetes has no Status for these. `details.causes` holds the code, and the hint for whoever shows it. */
export function withHint(error: KnownError): StatusError {
  const { http, hint } = ERRORS[error.code]
  const causes = [{ reason: error.code, message: hint }]
  return new StatusError(
    { code: http, reason: error.code, message: error.message, details: { causes } },
    { cause: error },
  )
}

/** The store has not reached the revision that was asked for. */
export const tooLarge = (seen: { wanted: number; current: number }): StatusError =>
  resourceVersionTooLarge({ wanted: String(seen.wanted), current: String(seen.current) })
