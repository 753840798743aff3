import { KnownError } from "../errors.ts"
import { AnswerLost, NotDone, reasonOf } from "./lost-answer.ts"

/** Server error codes (MariaDB's and MySQL's tables agree on them) after which the same statement may succeed at once. */
const TAKEN_BACK = new Set([
  1020, // the row changed since it was read
  1062, // an id that a filler took, or another writer's successor of the same row: asking again tells which
  1205, // lock wait timeout
  1213, // deadlock
  1412, // the table was rebuilt meanwhile
  1799, // too much was written while the table was rebuilt
])

/** MariaDB's max_statement_time was over: the statement has ended, and was done or was not. */
export class TimeIsOver extends AnswerLost {}
const TIME_IS_OVER = 1969

/** After these the transaction may have been committed: the session was ended or interrupted somewhere in it. */
const INTERRUPTED = new Set([
  1053, // shutdown
  1180, // error during COMMIT
  1317, // KILL QUERY
  TIME_IS_OVER,
  1927, // KILL, MariaDB
  4031, // idle for too long, MySQL
])

const DISK_FULL = new Set([1021, 1114])

/** Credentials, database, rights: somebody must change something. */
const REFUSED = new Set([
  1044, // no right to the database
  1045, // wrong password
  1049, // no such database
  1130, // host not allowed
  1142, // no right to the table
  1227, // no right to that
  1251, // the user's way to log in is not known
  1370, // no right to the procedure
  1524, // the user's plugin is not loaded
  1698, // the user logs in by a socket
])

/** What a sound program meets on a sick or badly set up server. */
const FORESEEN = new Set([
  1040, // too many connections
  1047, // a Galera node that is not ready
  1129, // host blocked
  1153, // above max_allowed_packet: ends the connection, does nothing
  1203, // the user has too many connections
  1226, // the user's limit
  1290, // read_only
  1665, // binlog_format=STATEMENT
  1792, // read-only transaction
  1836, // read-only mode
])

interface ServerError extends Error {
  readonly errno: number
  readonly sqlState: string
}

/** Node's errors have an errno as well. */
export const isServerError = (error: unknown): error is ServerError =>
  error instanceof Error && "sqlState" in error && "errno" in error

/** A foreseen failure as a {@link KnownError}; anything else comes back as it is: a bug. `sent`: whether the server
 *  may have been told to do something. */
export function mysqlError(
  error: unknown,
  { where, sent }: { readonly where: string; readonly sent: boolean },
): unknown {
  if (error instanceof KnownError || !(error instanceof Error)) return error
  const seen = `${where}: ${reasonOf(error)}`
  // What it says beside its message quotes the statement.
  const cause = new Error(error.message)
  if (!isServerError(error)) {
    if (error instanceof TypeError || error instanceof RangeError) return error
    if (sent) return new AnswerLost(seen, { cause })
    return new KnownError("StoreUnavailable", seen, { cause })
  }
  const told = `${seen} (error ${error.errno})`
  if (sent && error.errno === TIME_IS_OVER) return new TimeIsOver(told, { cause })
  if (sent && INTERRUPTED.has(error.errno)) return new AnswerLost(told, { cause })
  if (TAKEN_BACK.has(error.errno)) return new NotDone(told, { cause })
  if (DISK_FULL.has(error.errno)) return new KnownError("DiskFull", told, { cause })
  if (REFUSED.has(error.errno)) return new KnownError("StoreRefused", told, { cause })
  if (FORESEEN.has(error.errno) || INTERRUPTED.has(error.errno)) {
    return new KnownError("StoreUnavailable", told, { cause })
  }
  return error
}

/** Whether the connection can be used again after `error`: the statement was refused, and nothing else happened. */
export const isConnectionSound = (error: unknown): boolean =>
  isServerError(error) && !INTERRUPTED.has(error.errno) && error.errno !== 1153
