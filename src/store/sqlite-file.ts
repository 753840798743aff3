/** The database file: how it is opened, what stands in it before the first request, and how it is cleaned.
 *
 *  The table is kine's v0.16 (names and types: never change), so that a file from K3s opens as it is. The tables named
 *  keyturn_* are ours; kine does not see them. */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  statSync,
} from "node:fs"
import { dirname } from "node:path"
import { backup, DatabaseSync } from "node:sqlite"
import { KnownError } from "../errors.ts"
import { COMPACT_KEY, HEALTH_KEY, HEALTH_VALUE } from "./kine.ts"
import { storeError } from "./sqlite-errors.ts"

export const BUSY_TIMEOUT_MS = 30_000
/** Maintenance gives way sooner than a write: nobody's request waits for it. */
export const MAINTENANCE_TIMEOUT_MS = 1_000

/** A copy is made in one step, on another thread: a writer between two steps would begin it anew again and again. */
const ALL_PAGES = 2_147_483_647

const SCHEMA = `
CREATE TABLE IF NOT EXISTS kine
  (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT,
    created INTEGER,
    deleted INTEGER,
    create_revision INTEGER,
    prev_revision INTEGER,
    lease INTEGER,
    value BLOB,
    old_value BLOB
  );
CREATE INDEX IF NOT EXISTS kine_name_index ON kine (name);
CREATE INDEX IF NOT EXISTS kine_name_id_index ON kine (name,id);
CREATE INDEX IF NOT EXISTS kine_id_deleted_index ON kine (id,deleted);
CREATE INDEX IF NOT EXISTS kine_prev_revision_index ON kine (prev_revision);
CREATE UNIQUE INDEX IF NOT EXISTS kine_name_prev_revision_uindex ON kine (name, prev_revision);
CREATE INDEX IF NOT EXISTS kine_id_compact_rev_key_with_prev_revision_index ON kine(id, name, prev_revision)
  WHERE name != '${COMPACT_KEY}' AND prev_revision != 0;
CREATE TABLE IF NOT EXISTS keyturn_record (name TEXT PRIMARY KEY, version TEXT NOT NULL, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS keyturn_fence (id INTEGER PRIMARY KEY CHECK (id = 1), fence TEXT NOT NULL);

DELETE FROM kine WHERE name = '${COMPACT_KEY}' AND id <> (
  SELECT id FROM kine WHERE name = '${COMPACT_KEY}' ORDER BY prev_revision DESC, id LIMIT 1);
INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
  SELECT '${COMPACT_KEY}', 1, 0, 0, 0, 0, x'', NULL
  WHERE NOT EXISTS (SELECT 1 FROM kine WHERE name = '${COMPACT_KEY}');
INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
  SELECT '${HEALTH_KEY}', 1, 0, 0, 0, 0, CAST('${HEALTH_VALUE}' AS BLOB), NULL
  WHERE NOT EXISTS (SELECT 1 FROM kine WHERE name = '${HEALTH_KEY}');
`

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`

/** Opens or creates the file, readable by its owner alone. What SQLite spills (VACUUM: a whole copy, in whatever thread) goes to
 *  the same folder, without a name: elsewhere there may be no space, no right to write, or somebody else's disk. */
export function openFile(path: string): DatabaseSync {
  const isNew = makePrivate(path)
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  try {
    if (isNew) db.exec("PRAGMA page_size = 8192")
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA secure_delete = ON;
      PRAGMA cache_size = -32768;
      PRAGMA temp_store_directory = ${quoted(dirname(path))};
      BEGIN IMMEDIATE; ${SCHEMA} COMMIT`)
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

/** Tells whether the open database at `path` and its log still are the files that lie there now. SQLite keeps the log's file while
 *  it has the database open. */
export function placeOf(path: string): () => boolean {
  // The log lies beside the file that a symbolic link leads to.
  const places = [path, `${realpathSync(path)}-wal`].map((file) => ({
    file,
    opened: statSync(file),
  }))
  return () =>
    places.every(({ file, opened }) => {
      const now = statSync(file, { throwIfNoEntry: false })
      return now?.dev === opened.dev && now.ino === opened.ino
    })
}

/** The log and the shared-memory file take their mode from the database file. True where it was empty or missing. */
function makePrivate(path: string): boolean {
  try {
    if (!existsSync(dirname(path))) mkdirSync(dirname(path), { mode: 0o700 })
    closeSync(openSync(path, "a", 0o600))
    for (const file of [path, `${path}-wal`, `${path}-shm`]) {
      if (existsSync(file)) chmodSync(file, 0o600)
    }
    sync(dirname(path)) // a new file's name is durable only then
    return statSync(path).size === 0
  } catch (error) {
    const seen = error instanceof Error ? error.message : String(error)
    throw new KnownError("FilesUnreadable", `the datastore cannot be opened: ${seen}`, {
      cause: error,
    })
  }
}

/** A file's bytes; of a folder the names in it. */
function sync(path: string): void {
  const opened = openSync(path, "r")
  try {
    fsyncSync(opened)
  } finally {
    closeSync(opened)
  }
}

/** Moves the log into the file as far as nobody reads it, without waiting for anyone. */
export function checkpoint(db: DatabaseSync): void {
  db.exec("PRAGMA wal_checkpoint(PASSIVE)")
}

/** Moves all of the log into the file and leaves it empty. Throws StoreUnavailable. */
export function emptyLog(db: DatabaseSync, path: string): void {
  db.exec(`PRAGMA busy_timeout = ${MAINTENANCE_TIMEOUT_MS}`)
  try {
    if (truncateLog(db)) return
    const seen = `${path}: another process reads it, so old pages stay in its write-ahead log`
    throw new KnownError("StoreUnavailable", seen)
  } finally {
    db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`)
  }
}

/** False where another process reads what is in it. */
export const truncateLog = (db: DatabaseSync): boolean =>
  db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()?.["busy"] === 0

/** Copies the database as it stands at one moment; durable when it returns. */
export async function copyDatabase(path: string, copy: string): Promise<void> {
  try {
    closeSync(openSync(copy, "wx", 0o600))
    using source = new DatabaseSync(path, { readOnly: true })
    await backup(source, copy, { rate: ALL_PAGES })
    chmodSync(copy, 0o600)
    sync(copy)
  } catch (error) {
    throw storeError(copy, error)
  }
}

/** Moves all of the write-ahead log of a database that no server has open into its file. Throws DataDirInUse where somebody else
 *  reads in it, and StoreUnavailable where it is damaged. */
export function foldLog(path: string): void {
  try {
    using db = new DatabaseSync(path, { timeout: MAINTENANCE_TIMEOUT_MS })
    if (truncateLog(db)) return
  } catch (error) {
    throw storeError(path, error)
  }
  throw new KnownError(
    "DataDirInUse",
    `${path} is read by another process, so what its write-ahead log holds cannot be moved into it: end that first`,
  )
}
