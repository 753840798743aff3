/** The thread that sqlite-residue.ts starts: VACUUM takes seconds, in which the server goes on. It is given the path of the
 *  database and answers with an {@link Outcome}. Nothing can end it before its time. */
import { DatabaseSync } from "node:sqlite"
import { parentPort, workerData } from "node:worker_threads"
import { MAINTENANCE_TIMEOUT_MS, truncateLog } from "./sqlite-file.ts"

/** SQLite's own words and result code where it failed; both absent where it did not. */
export interface Outcome {
  readonly message?: string
  readonly errcode?: number
}

const SQLITE_BUSY = 5
const READ = "another process reads it, so old pages stay in its write-ahead log"

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is a window's
parentPort?.postMessage(outcomeOf(workerData as string))

function outcomeOf(path: string): Outcome {
  try {
    writeAfresh(path)
    return {}
  } catch (error) {
    const { message, errcode } = error as Error & Outcome
    return { message, ...(errcode !== undefined && { errcode }) }
  }
}

/** Where it fails, it gives back the space that it took from everybody else on the disk: with a log that began empty, that
 *  needs none. */
function writeAfresh(path: string): void {
  using db = new DatabaseSync(path, { timeout: MAINTENANCE_TIMEOUT_MS })
  db.exec("PRAGMA synchronous = FULL")
  truncateLog(db)
  let isEmpty = false
  try {
    db.exec("VACUUM")
  } finally {
    isEmpty = truncateLog(db)
  }
  if (!isEmpty) throw Object.assign(new Error(READ), { errcode: SQLITE_BUSY })
}
