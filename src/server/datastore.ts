/** Which datastore a server works on, from its flags, and opening it. */
import { existsSync, realpathSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import type { Logger } from "pino"
import { isKnown, type KnownError } from "../errors.ts"
import { ETCD_SCHEMES, parseEtcdEndpoints } from "../store/etcd-url.ts"
import type { Datastore } from "../store/datastore.ts"
import { parseMysqlUrl } from "../store/mysql-url.ts"
import { parsePostgresUrl } from "../store/postgres-url.ts"
import type { Store, StoreReader } from "../store/store.ts"
import type { TlsFiles } from "../store/tls-files.ts"
import { type Setting, usage } from "./settings.ts"

/** `standard`: path of the SQLite database where no address is given. Other addresses may hold a password, so none is
 *  quoted. */
export function datastoreOf(
  { text, where }: Setting,
  { standard, tls }: { readonly standard: string; readonly tls: TlsFiles },
): Datastore {
  if (text === "") return { kind: "sqlite", path: standard }
  const [, path] = /^sqlite:\/\/(\/[^?]+)$/.exec(text) ?? []
  if (path !== undefined) return { kind: "sqlite", path }
  const [, scheme] = /^([a-z0-9+]+):/.exec(text) ?? []
  if (scheme === "postgres" || scheme === "postgresql") {
    return { kind: "postgres", address: parsePostgresUrl(text, where), tls }
  }
  if (ETCD_SCHEMES.some((known) => known === scheme)) {
    return { kind: "etcd", endpoints: parseEtcdEndpoints(text, where, tls), tls }
  }
  if (scheme === "mysql") return { kind: "mysql", address: parseMysqlUrl(text, where), tls }
  const seen = scheme === undefined || scheme === "sqlite" ? "" : `, not ${scheme}`
  const known = "sqlite:///path, https://host:2379, postgres://… or mysql://…"
  throw usage(`${where} must be empty, ${known}${seen}`)
}

/** As long as kine waits for its database. */
const ATTEMPTS = 300
/** A name that nobody knows is a mistake, once the machine's own start is over. */
const ATTEMPTS_OF_NAME = 30
const ATTEMPT_EVERY_MS = 1_000
const TELL_EVERY = 10

export interface DatastoreContext {
  readonly log: Logger
  /** Ends the waiting. */
  readonly signal: AbortSignal
}

/** Whether a database server that does not answer may be there soon: it may be starting as well. */
export const mayCome = (error: unknown, attempt: number): error is KnownError =>
  isKnown(error, "StoreUnavailable") &&
  attempt < (error.message.includes("ENOTFOUND") ? ATTEMPTS_OF_NAME : ATTEMPTS)

/** Waits for a database server that is not there yet, or not ready. Undefined where the signal came first. Throws what lasts,
 *  and StoreUnavailable after five minutes. */
export async function openDatastore(
  datastore: Datastore,
  { log, signal }: DatastoreContext,
): Promise<Store | undefined> {
  for (let attempt = 1; !signal.aborted; attempt++) {
    try {
      return await openNow(datastore, log)
    } catch (error) {
      if (datastore.kind === "sqlite" || !mayCome(error, attempt)) throw error
      if (attempt % TELL_EVERY === 1) log.warn(`waiting for the datastore: ${error.message}`)
      await sleep(ATTEMPT_EVERY_MS, undefined, { signal }).catch(() => {})
    }
  }
  return undefined
}

/** For reading alone, and at once. A file is not changed; a database server's is opened as a server opens it. */
export async function openForReading(datastore: Datastore, log: Logger): Promise<StoreReader> {
  if (datastore.kind !== "sqlite") return openNow(datastore, log)
  const { readSqlite } = await import("../store/sqlite-reader.ts")
  return readSqlite(datastore.path)
}

/** The files of a database that are ours to read; some may not be there. Its logs lie beside the file that a symbolic link leads
 *  to. */
export function databaseFiles(datastore: Datastore): string[] {
  if (datastore.kind !== "sqlite") return []
  const { path } = datastore
  const file = existsSync(path) ? realpathSync(path) : path
  return ["", "-wal", "-journal"].map((end) => file + end)
}

/** A driver is loaded only where it is used. */
export async function openNow(datastore: Datastore, log: Logger): Promise<Store> {
  const warn = (message: string, error: unknown) => log.warn({ err: error }, message)
  if (datastore.kind === "sqlite") {
    const { openSqlite } = await import("../store/sqlite.ts")
    return openSqlite({ path: datastore.path, warn })
  }
  if (datastore.kind === "etcd") {
    const { openEtcd } = await import("../store/etcd.ts")
    return openEtcd({ ...datastore, warn })
  }
  if (datastore.kind === "mysql") {
    const { openMysql } = await import("../store/mysql.ts")
    return openMysql({ ...datastore, warn })
  }
  const { openPostgres } = await import("../store/postgres.ts")
  return openPostgres({ ...datastore, warn })
}
