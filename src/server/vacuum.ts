import { KnownError } from "../errors.ts"
import type { Datastore } from "../store/datastore.ts"

// biome-ignore format: a table
/** Of each database: what the end of every rewrite does to it, and what does more. */
const CLEARED: Readonly<Record<Exclude<Datastore["kind"], "sqlite">, string>> = {
  etcd:     "etcd, which every rewrite compacts at its end; its file is defragmented by: etcdctl defrag",
  postgres: "PostgreSQL, which every rewrite vacuums at its end; its table is written afresh by: VACUUM FULL kine",
  mysql:    "MariaDB or MySQL, whose table every rewrite writes afresh at its end",
}

/** Throws UsageInvalid where the database's file is not this server's to write afresh. */
export function refuseVacuum(engine: Datastore["kind"]): void {
  if (engine === "sqlite") return
  throw new KnownError("UsageInvalid", `--vacuum is for SQLite, and this is ${CLEARED[engine]}`)
}
