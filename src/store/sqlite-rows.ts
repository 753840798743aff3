/** The rows of kine's table as they lie: read in batches, and rewritten in place. */
import { type FileHandle, open } from "node:fs/promises"
import { DatabaseSync } from "node:sqlite"
import { KnownError } from "../errors.ts"
import type { RowsBeside } from "./datastore.ts"
import { rowBatch, spanOf } from "./kine.ts"
import { CommitQueue } from "./sqlite-commit.ts"
import { storeError } from "./sqlite-errors.ts"
import { BUSY_TIMEOUT_MS, checkpoint } from "./sqlite-file.ts"
import { KineTable } from "./sqlite-kine.ts"
import { RecordTable } from "./sqlite-records.ts"
import type { Replacement, Rewritten, RowBatch, RowQuery } from "./store.ts"

export class SqliteRows {
  readonly #kine: KineTable
  readonly #records: RecordTable

  constructor(kine: KineTable, records: RecordTable) {
    this.#kine = kine
    this.#records = records
  }

  read(query: RowQuery): RowBatch {
    const { limit, except, headBytes, common } = query
    const span = { ...spanOf(query), limit }
    if (except !== undefined) {
      const { upTo, ...batch } = this.#kine.others({ ...span, except })
      return { ...batch, cursor: upTo.toString() }
    }
    if (headBytes === undefined) return rowBatch(span, this.#kine.rows(span))
    return rowBatch(span, this.#kine.heads({ ...span, headBytes, common }))
  }

  /** To be called inside a transaction. */
  rewrite(fence: string, replacements: readonly Replacement[]): Rewritten {
    if (this.#records.fence() !== fence) return { outcome: "fenced" }
    let replaced = 0
    for (const replacement of replacements) if (this.#kine.replace(replacement)) replaced += 1
    return { outcome: "done", replaced }
  }
}

/** Sooner than the store, for which a request would wait. */
const CHECKPOINT_PAGES = 800

/** A commit here waits for no sync. What it wrote stands in the log before all that the store commits from then on, a cursor and a
 *  retirement too, and is durable with that; what a machine's end takes away was under a key that is still there. */
export async function openSqliteRows(path: string): Promise<RowsBeside> {
  try {
    const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
    db.exec(`
      PRAGMA synchronous = NORMAL;
      PRAGMA secure_delete = ON;
      PRAGMA cache_size = -8192;
      PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
    const rows = new SqliteRows(new KineTable(db), new RecordTable(db))
    return rowsBeside({ db, rows, path, log: await openLog(path) })
  } catch (error) {
    throw storeError(path, error)
  }
}

interface Opened {
  readonly db: DatabaseSync
  readonly rows: SqliteRows
  readonly path: string
  readonly log: FileHandle
}

function rowsBeside({ db, rows, path, log }: Opened): RowsBeside {
  const queue = new CommitQueue({ db, path, committed: () => {} })
  let synced = Promise.resolve()
  return {
    async rows(query) {
      try {
        return snapshotted(db, () => rows.read(query))
      } catch (error) {
        throw storeError(path, error)
      }
    },
    // What it wrote goes to the disk while the next batch is made: else all of it would wait for the store's next commit, and
    // requests with it. That syncs by itself, and meets what fails here.
    async rewrite(fence, replacements) {
      await synced
      const rewritten = await queue.submit(() => rows.rewrite(fence, replacements))
      synced = log.datasync().catch(() => {})
      return rewritten
    },
    checkpoint() {
      try {
        checkpoint(db)
      } catch (error) {
        throw storeError(path, error)
      }
    },
    async [Symbol.asyncDispose]() {
      queue.close()
      db.close()
      await synced
      await log.close()
    },
  }
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(`${path}-wal`)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new KnownError("StoreUnavailable", `${path}: its log cannot be opened: ${why}`, { cause })
  }
}

/** All of it as the database stands at one moment. */
function snapshotted<T>(db: DatabaseSync, read: () => T): T {
  db.exec("BEGIN")
  try {
    return read()
  } finally {
    // SQLite itself ends one in which the disk failed.
    if (db.isTransaction) db.exec("COMMIT")
  }
}
