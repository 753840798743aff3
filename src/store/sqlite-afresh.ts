/** A program of its own, run by sqlite-residue.ts: VACUUM takes seconds, in which the server goes on, and it can be ended at any
 *  moment, as a thread of the server could not.
 *
 *  Standard input: the path of the database. Standard output: an {@link Outcome} as JSON. */
import { readFileSync, writeFileSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { MAINTENANCE_TIMEOUT_MS, temporariesBeside, truncateLog } from "./sqlite-file.ts"

/** SQLite's own words and result code where it failed; both absent where it did not. */
export interface Outcome {
  readonly message?: string
  readonly errcode?: number
}

const SQLITE_BUSY = 5
const READ = "another process reads it, so old pages stay in its write-ahead log"

writeFileSync(1, JSON.stringify(outcomeOf(readFileSync(0, "utf8"))))

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
  db.exec(`PRAGMA synchronous = FULL; ${temporariesBeside(path)}`)
  truncateLog(db)
  let isEmpty = false
  try {
    db.exec("VACUUM")
  } finally {
    isEmpty = truncateLog(db)
  }
  if (!isEmpty) throw Object.assign(new Error(READ), { errcode: SQLITE_BUSY })
}
