/** The thread that sqlite-checkpoint.ts starts: it moves the write-ahead log into the database file again and again until it is
 *  told to end, when it leaves the log empty. It is given the path of the database. */
import { DatabaseSync } from "node:sqlite"
import { parentPort, workerData } from "node:worker_threads"
import { checkpoint, truncateLog } from "./sqlite-file.ts"

const EVERY_MS = 250

const db = new DatabaseSync(workerData as string)
db.exec("PRAGMA synchronous = FULL")
const timer = setInterval(() => checkpoint(db), EVERY_MS)

parentPort?.once("message", () => {
  clearInterval(timer)
  truncateLog(db)
  db.close()
})
