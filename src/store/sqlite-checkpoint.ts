/** While much is written, the write-ahead log is moved into the database file on a thread of its own: that waits for the disk,
 *  and in the main thread every request would wait with it. */
import { extname, join } from "node:path"
import type { DatabaseSync } from "node:sqlite"
import { Worker } from "node:worker_threads"

const THREAD = join(import.meta.dirname, `sqlite-checkpointer${extname(import.meta.filename)}`)
/** SQLite's own: of a log that is longer, every commit moves what it can. */
const PAGES = 1_000
const PAGES_BESIDE_THREAD = 16_000

export class Checkpoints {
  readonly #db: DatabaseSync
  readonly #path: string
  #thread: { readonly thread: Worker; readonly ended: Promise<void> } | undefined

  constructor(db: DatabaseSync, path: string) {
    this.#db = db
    this.#path = path
  }

  /** From now on by the thread. Not to be called within a transaction. */
  begin(): void {
    if (this.#thread !== undefined) return
    this.#db.exec(`PRAGMA wal_autocheckpoint = ${PAGES_BESIDE_THREAD}`)
    const thread = new Worker(THREAD, { workerData: this.#path, execArgv: [], env: {} })
    // What keeps it from the disk keeps the next write from it too, and is told there.
    thread.on("error", () => {})
    const ended = new Promise<void>((resolve) => thread.once("exit", () => resolve()))
    this.#thread = { thread, ended: ended.then(() => this.#ended()) }
  }

  /** What is in the log lies in the file when it resolves, where nothing kept the thread from it. Nobody may write meanwhile. */
  async end(): Promise<void> {
    this.#thread?.thread.postMessage("end")
    await this.#thread?.ended
  }

  #ended(): void {
    this.#thread = undefined
    if (this.#db.isOpen) this.#db.exec(`PRAGMA wal_autocheckpoint = ${PAGES}`)
  }
}
