import { DatabaseError } from "pg"
import { KnownError } from "../errors.ts"
import { AnswerLost, NotDone, reasonOf } from "./lost-answer.ts"

/** SQLSTATEs (PostgreSQL's appendix A) after which the same statement may succeed at once. */
const SERIALIZATION_FAILURE = "40001"
const DEADLOCK_DETECTED = "40P01"
const LOCK_NOT_AVAILABLE = "55P03"
/** An id that a filler took, or another writer's successor of the same row: asking again tells which. */
const UNIQUE_VIOLATION = "23505"
const TAKEN_BACK = new Set([
  SERIALIZATION_FAILURE,
  DEADLOCK_DETECTED,
  LOCK_NOT_AVAILABLE,
  UNIQUE_VIOLATION,
])

/** The session ends with it; whether the transaction was committed before is not said. So with any FATAL. */
const CONNECTION_ENDS = /^(?:08|40003|57P0)/
/** Credentials, database, rights: somebody must change something. */
const REFUSED = /^(?:28|3D|42501)/
/** What a sound program meets on a sick or badly set up server, by class or by code; DISK_FULL apart. */
const DISK_FULL = "53100"
const FORESEEN = /^(?:08|0A000|25006|25P03|42P04|53|55000|57|58|XX)/

/** A foreseen failure as a {@link KnownError}; anything else comes back as it is: a bug. `sent`: whether the server
 *  may have been told to do something. */
export function postgresError(
  error: unknown,
  { where, sent }: { readonly where: string; readonly sent: boolean },
): unknown {
  if (error instanceof KnownError || !(error instanceof Error)) return error
  const seen = `${where}: ${reasonOf(error)}`
  // What it says beside its message may quote a row.
  const cause = new Error(error.message)
  if (!(error instanceof DatabaseError)) {
    if (error instanceof TypeError || error instanceof RangeError) return error
    if (sent) return new AnswerLost(seen, { cause })
    return new KnownError("StoreUnavailable", seen, { cause })
  }
  const { code = "", severity } = error
  const told = `${seen} (SQLSTATE ${code})`
  if (sent && (severity !== "ERROR" || CONNECTION_ENDS.test(code)))
    return new AnswerLost(told, { cause })
  if (TAKEN_BACK.has(code)) return new NotDone(told, { cause })
  if (code === DISK_FULL) return new KnownError("DiskFull", told, { cause })
  if (REFUSED.test(code)) return new KnownError("StoreRefused", told, { cause })
  if (FORESEEN.test(code)) return new KnownError("StoreUnavailable", told, { cause })
  return error
}

/** Whether the connection can be used again after `error`. */
export const isConnectionSound = (error: unknown): boolean =>
  error instanceof DatabaseError && error.severity === "ERROR"
