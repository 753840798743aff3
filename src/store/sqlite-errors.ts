import { type ErrorCode, KnownError } from "../errors.ts"

/** SQLite's primary result codes (sqlite.org/rescode.html) that a sound program meets on a sick machine. */
const BUSY = 5
const NOMEM = 7
const READONLY = 8
const IOERR = 10
const IOERR_WRITE = 778
/** The file of the log's index could not grow. */
const IOERR_SHMSIZE = 4874
const CORRUPT = 11
const FULL = 13
const CANTOPEN = 14
const NOTADB = 26
const MACHINE_FAULTS = new Set([BUSY, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB])

interface SqliteError extends Error {
  readonly errcode: number
}

const isSqliteError = (error: unknown): error is SqliteError =>
  error instanceof Error && "errcode" in error && typeof error.errcode === "number"

const primaryCode = (error: SqliteError): number => error.errcode & 0xff

/** Whether the fault lies in the machine or the file, so that every write of a transaction shares it. */
export const isMachineFault = (error: unknown): boolean =>
  isSqliteError(error) && MACHINE_FAULTS.has(primaryCode(error))

/** Whether a file could not be written: mostly for want of space. */
export const isUnwritten = (error: unknown): boolean =>
  isSqliteError(error) && (error.errcode === IOERR_WRITE || codeOf(error) === "DiskFull")

/** A foreseen failure as a {@link KnownError}; anything else comes back as it is: a bug. */
export function storeError(path: string, error: unknown): unknown {
  if (error instanceof RangeError && "code" in error && error.code === "ERR_OUT_OF_RANGE") {
    const seen = `${path}: a revision, stored or the next one, is not below 2^53`
    return new KnownError("RevisionTooLarge", seen, { cause: error })
  }
  if (!isSqliteError(error) || !isMachineFault(error)) return error
  return new KnownError(codeOf(error), `${path}: ${error.message} (SQLite ${error.errcode})`, {
    cause: error,
  })
}

function codeOf(error: SqliteError): ErrorCode {
  const primary = primaryCode(error)
  if (primary === FULL || error.errcode === IOERR_SHMSIZE) return "DiskFull"
  return primary === CORRUPT || primary === NOTADB ? "StoreCorrupt" : "StoreUnavailable"
}

/** The failure of a COMMIT. A log that could not be written lacks the commit record, and nothing happened. One that was
 *  written and could not be synced may have it on the disk: not visible now, but a crash could bring it back. */
export function commitError(path: string, error: unknown): unknown {
  if (!isSqliteError(error) || primaryCode(error) !== IOERR || error.errcode === IOERR_WRITE) {
    return storeError(path, error)
  }
  const seen = `${path}: the commit ended in: ${error.message} (SQLite ${error.errcode})`
  return new KnownError("OutcomeUnknown", seen, { cause: error })
}
