/** How a copy of the database becomes a datastore again. */
import { DatabaseSync } from "node:sqlite"
import { isKnown, KnownError } from "../errors.ts"
import { COMPACT_KEY } from "./kine.ts"
import { openSqlite } from "./sqlite.ts"

/** More than any server writes between a copy and its return; what etcd's own restore is advised to leave out. */
const LEAP = 1_000_000_000

/** Makes a copy ready to be a datastore again. Its history is forgotten and its next revision is above every one that
 *  clients may have seen since, so that none takes it for a continuation: they are told to list again.
 *  Throws SnapshotInvalid. */
export async function reviveCopy(copy: string): Promise<void> {
  try {
    checkPages(copy)
    const store = openSqlite({ path: copy })
    try {
      await store.compact(await store.revision())
    } finally {
      await store.close()
    }
    leap(copy)
  } catch (error) {
    if (isKnown(error, "SnapshotInvalid", "DiskFull")) throw error
    const why = error instanceof Error ? error.message : String(error)
    throw new KnownError("SnapshotInvalid", `not a database that can be used: ${why}`, {
      cause: error,
    })
  }
}

function checkPages(copy: string): void {
  using db = new DatabaseSync(copy)
  const [seen] = Object.values(db.prepare("PRAGMA quick_check(1)").get() ?? {})
  if (seen !== "ok")
    throw new KnownError("SnapshotInvalid", `the database is damaged: ${String(seen)}`)
}

/** A row as kine writes it over an id that was never used, far above the newest. */
function leap(copy: string): void {
  using db = new DatabaseSync(copy)
  db.exec(`BEGIN IMMEDIATE;
    INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)
      SELECT id, 'gap-' || id, 0, 1, 0, 0, 0, NULL, NULL FROM (SELECT MAX(id) + ${LEAP} AS id FROM kine);
    UPDATE kine SET prev_revision = (SELECT MAX(id) FROM kine) WHERE name = '${COMPACT_KEY}';
    COMMIT`)
}
