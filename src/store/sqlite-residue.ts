/** What old values leave behind in the database file, and how it is removed.
 *
 *  secure_delete zeroes what is deleted, but rows that moved to another page while the tree was balanced leave copies behind in
 *  the old one. Only VACUUM removes these, for it writes every page afresh; that is sqlite-afresh.ts', a thread of its own. */
import { once } from "node:events"
import { extname, join } from "node:path"
import { Worker } from "node:worker_threads"
import type { Outcome } from "./sqlite-afresh.ts"

const AFRESH = join(import.meta.dirname, `sqlite-afresh${extname(import.meta.filename)}`)

/** Writes the database afresh and empties its log. Whoever else writes waits meanwhile. Throws as SQLite does.
 *
 *  In this process, for another would rely on locks that any reader of the file here may have taken away. */
export async function writeAfresh(path: string): Promise<void> {
  const worker = new Worker(AFRESH, { workerData: path, execArgv: [], env: {} })
  const [said] = await Promise.all([once(worker, "message"), once(worker, "exit")])
  const { message, errcode } = said[0] as Outcome
  if (message !== undefined) throw Object.assign(new Error(message), { errcode })
}
