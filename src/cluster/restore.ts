/** A snapshot put back in the place of a server's SQLite datastore. The one that it replaces is kept, with its token. */
import { randomUUID } from "node:crypto"
import {
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  realpathSync,
  renameSync,
  rmSync,
} from "node:fs"
import { basename, dirname, join } from "node:path"
import { isKnown, KnownError } from "../errors.ts"
import { openRecord, readOutside } from "../keyring/record.ts"
import { unlock } from "../keyring/slots.ts"
import { BY_RECOVERY_KEY, decodeHistory, encodeHistory, entryOf } from "../rotation/history.ts"
import { openSqlite } from "../store/sqlite.ts"
import type { Store } from "../store/store.ts"
import { foldLog } from "../store/sqlite-file.ts"
import { reviveCopy } from "../store/sqlite-snapshot.ts"
import { type Secrets, unlockByToken } from "./bootstrap.ts"
import { beforeRestore, claimDatabase, type DataDirPaths, openDataDir } from "./data-dir.ts"
import { makePrivateDir, moveDurably, named, writeDurably } from "./files.ts"

export interface Restored {
  readonly snapshot: string
  /** The server to which it comes back. */
  readonly server: string
  /** As given by the operator; null: the data directory's. */
  readonly token: string | null
  readonly recoveryKey: string | null
  readonly now: Date
}

export interface Restore extends Restored {
  readonly dataDir: string
  /** The database file that the server opens. */
  readonly database: string
}

/** Returns the folder in which the replaced database lies; null where there was none. A sound datastore is as before until the last
 *  step, and that is one rename; of a damaged one the log is moved away first. Throws SnapshotInvalid, SlotDidNotOpen, DataDirInUse. */
export async function restoreSnapshot(of: Restore): Promise<string | null> {
  using stack = new DisposableStack()
  const { paths, release } = openDataDir(of.dataDir, of)
  stack.defer(release)
  if (!existsSync(of.database) && lstatSync(of.database, { throwIfNoEntry: false }) !== undefined)
    throw new KnownError(
      "UsageInvalid",
      `${of.database} is a symbolic link that leads nowhere: is its disk mounted? Else remove it`,
    )
  // What a symbolic link leads to: a name beside it is on the same disk, and its log lies there.
  const database = existsSync(of.database) ? realpathSync(of.database) : of.database
  stack.defer(claimDatabase(database, of))
  const copy = `${database}.restored`
  const removeCopy = () => {
    for (const file of withLogs(copy)) rmSync(file, { force: true })
  }
  removeCopy()
  stack.defer(removeCopy)
  named(`cannot copy ${of.snapshot}`, () => copyFileSync(of.snapshot, copy))
  await reviveCopy(copy)
  await receiveCopy(copy, { ...of, paths })
  const kept = setAside(database, { paths, now: of.now })
  // The next start tries this one too, and keeps it for it opens the keyring.
  if (of.token !== null) writeDurably(paths.nextToken, `${of.token}\n`)
  if (kept !== null) moveLogs(database, kept)
  moveDurably(copy, database)
  return kept
}

const withLogs = (database: string): string[] => ["", "-wal", "-shm"].map((end) => database + end)

async function receiveCopy(copy: string, of: Restored & Secrets): Promise<void> {
  const store = openSqlite({ path: copy })
  try {
    await receive(store, of)
  } finally {
    await store.close()
  }
}

/** Enters its return into its own history. Throws SnapshotInvalid, RecordCorrupt, and SlotDidNotOpen: a datastore that nothing at hand
 *  opens is of no use to anybody. */
export async function receive(store: Store, of: Restored & Secrets): Promise<void> {
  await refuseClosed(store, of)
  const stored = await store.record("history")
  const history = stored === undefined ? [] : decodeHistory(stored.value)
  const user = of.recoveryKey === null ? "server" : BY_RECOVERY_KEY
  const entry = entryOf({
    id: randomUUID(),
    verb: "snapshot restore",
    caller: { user, address: "" },
    server: of.server,
    target: of.snapshot,
    now: of.now,
  })
  await store.step({
    compare: [],
    put: [{ name: "history", value: encodeHistory([...history, entry]) }],
  })
}

async function refuseClosed(store: Store, secrets: Secrets): Promise<void> {
  const stored = await store.record("keyring")
  if (stored === undefined)
    throw new KnownError("SnapshotInvalid", "there is no keyring in this snapshot")
  const { slots } = readOutside(stored.value)
  const clusterKey = await (secrets.recoveryKey === null
    ? unlockByToken(secrets, slots)
    : unlock(slots, { kind: "recovery", secret: secrets.recoveryKey }))
  openRecord(stored.value, clusterKey)
}

/** A second name for the database, and copies of the tokens one of which opens it. Throws DataDirInUse. */
function setAside(
  database: string,
  { paths, now }: { readonly paths: DataDirPaths; readonly now: Date },
): string | null {
  if (!existsSync(database)) return null
  try {
    foldLog(database)
  } catch (error) {
    // It may be damaged: then its log stays beside it.
    if (!isKnown(error) || error.code === "DataDirInUse") throw error
  }
  const folder = beforeRestore(dirname(database), now)
  makePrivateDir(folder)
  return named(`cannot keep ${database} in ${folder}`, () => {
    linkSync(database, join(folder, basename(database)))
    for (const token of [paths.token, paths.nextToken])
      if (existsSync(token)) copyFileSync(token, join(folder, basename(token)))
    return folder
  })
}

/** What replaces the database must not be read with them. */
function moveLogs(database: string, folder: string): void {
  const [, ...logs] = withLogs(database)
  named(`cannot keep the log of ${database} in ${folder}`, () => {
    for (const log of logs) if (existsSync(log)) renameSync(log, join(folder, basename(log)))
  })
}
