/** A database file as it lies, for reading alone: nothing in it or in its write-ahead log changes, though what the log holds is
 *  read too. It may be K3s', without our tables, and a server may have it open. */
import { statSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { KnownError } from "../errors.ts"
import { rowBatch, spanOf } from "./kine.ts"
import { storeError } from "./sqlite-errors.ts"
import { BUSY_TIMEOUT_MS } from "./sqlite-file.ts"
import { KineTable, keyRange } from "./sqlite-kine.ts"
import { RecordTable } from "./sqlite-records.ts"
import type { StoreReader } from "./store.ts"

/** Throws FilesUnreadable where there is no file, StoreCorrupt where it is none of kine's. */
export function readSqlite(path: string): StoreReader {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile())
    throw new KnownError("FilesUnreadable", `there is no file ${path}`)
  try {
    return readerOf(new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS }), path)
  } catch (error) {
    throw storeError(path, error)
  }
}

function readerOf(db: DatabaseSync, path: string): StoreReader {
  const tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all()
  const has = (name: string) => tables.some((table) => table["name"] === name)
  if (!has("kine")) throw new KnownError("StoreCorrupt", `${path} has no table named kine`)
  const kine = new KineTable(db)
  const records = has("keyturn_record") ? new RecordTable(db) : undefined
  const reading = async <T>(read: () => T): Promise<T> => {
    try {
      return read()
    } catch (error) {
      throw storeError(path, error)
    }
  }
  return {
    rows: ({ limit, ...range }) =>
      reading(() => {
        const span = { ...spanOf(range), limit }
        return rowBatch(span, kine.rows(span))
      }),
    list: ({ prefix, after, ...at }) =>
      reading(() => {
        const { revision = kine.revision(), limit = Number.MAX_SAFE_INTEGER } = at
        return { entries: kine.list(keyRange(prefix, after), { revision, limit }), revision }
      }),
    revision: () => reading(() => kine.revision()),
    record: (name) => reading(() => records?.record(name)),
    close: () => reading(() => db.close()),
  }
}
