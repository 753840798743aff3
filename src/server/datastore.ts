/** Which datastore a server works on, from its flags, and opening it. */
import type { Logger } from "pino"
import { type MysqlAddress, parseMysqlUrl } from "../store/mysql-url.ts"
import { type PostgresAddress, parsePostgresUrl } from "../store/postgres-url.ts"
import type { Store } from "../store/store.ts"
import type { TlsFiles } from "../store/tls-files.ts"
import { type Setting, usage } from "./settings.ts"

export type Datastore =
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "postgres"; readonly address: PostgresAddress; readonly tls: TlsFiles }
  | { readonly kind: "mysql"; readonly address: MysqlAddress; readonly tls: TlsFiles }

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
  if (scheme === "mysql") return { kind: "mysql", address: parseMysqlUrl(text, where), tls }
  const seen = scheme === undefined || scheme === "sqlite" ? "" : `, not ${scheme}`
  throw usage(`${where} must be empty, sqlite:///path, postgres://… or mysql://…${seen}`)
}

/** A driver is loaded only where it is used. */
export async function openDatastore(datastore: Datastore, log: Logger): Promise<Store> {
  const warn = (message: string, error: unknown) => log.warn({ err: error }, message)
  if (datastore.kind === "sqlite") {
    const { openSqlite } = await import("../store/sqlite.ts")
    return openSqlite({ path: datastore.path, warn })
  }
  if (datastore.kind === "mysql") {
    const { openMysql } = await import("../store/mysql.ts")
    return openMysql({ ...datastore, warn })
  }
  const { openPostgres } = await import("../store/postgres.ts")
  return openPostgres({ ...datastore, warn })
}
