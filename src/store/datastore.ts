/** Which datastore there is, and what a thread beside that of its store opens of it. A driver is loaded only where it is used. */
import type { MysqlAddress } from "./mysql-url.ts"
import type { PostgresAddress } from "./postgres-url.ts"
import type { Store } from "./store.ts"
import type { TlsFiles } from "./tls-files.ts"

/** With kine's table, or etcd. */
export type Datastore =
  | { readonly kind: "etcd"; readonly endpoints: readonly string[]; readonly tls: TlsFiles }
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "postgres"; readonly address: PostgresAddress; readonly tls: TlsFiles }
  | { readonly kind: "mysql"; readonly address: MysqlAddress; readonly tls: TlsFiles }

/** Over connections of its own. On SQL the store learns of no rewrite by itself: it lets go of older bytes when it scrubs. */
export interface RowsBeside extends Pick<Store, "rows" | "rewrite">, AsyncDisposable {
  /** On SQLite: moves the log into the file; then the store has little to move where it empties the log. In turn with that. */
  checkpoint?(): void
}

/** Throws what a store of it throws where it cannot be opened; of etcd the first call does. */
export async function openRows(datastore: Datastore): Promise<RowsBeside> {
  if (datastore.kind === "etcd") {
    const { openEtcdRows } = await import("./etcd-rows.ts")
    return openEtcdRows(datastore)
  }
  if (datastore.kind === "sqlite") {
    const { openSqliteRows } = await import("./sqlite-rows.ts")
    return openSqliteRows(datastore.path)
  }
  if (datastore.kind === "mysql") {
    const { openMysqlRows } = await import("./mysql.ts")
    return openMysqlRows(datastore)
  }
  const { openPostgresRows } = await import("./postgres.ts")
  return openPostgresRows(datastore)
}
