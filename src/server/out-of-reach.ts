/** Copies of the keyring that no command of a server reaches: whoever has one, and the token of that time, has the keys that
 *  were in it. */
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { type DataDirPaths, isSetAside } from "../cluster/data-dir.ts"
import { named } from "../cluster/files.ts"
import { listSnapshots } from "../cluster/snapshots.ts"
import type { Datastore } from "../store/datastore.ts"

// biome-ignore format: a table; docs/format.md says more of each
const OF_ENGINE: Readonly<Record<Datastore["kind"], string>> = {
  sqlite:   "backups of the database's file, and what the file system keeps of it",
  etcd:     "etcd's write-ahead log, its free pages until etcdctl defrag, and snapshots of it",
  postgres: "PostgreSQL's write-ahead log and its archive, replicas and backups",
  mysql:    "the database's undo and redo logs, binary log, replicas and backups",
}

/** In words for people. `away`: names of the servers that do not answer. */
export function outOfReach(
  paths: DataDirPaths,
  { engine, away }: { readonly engine: Datastore["kind"]; readonly away: readonly string[] },
): string[] {
  return [
    ...listSnapshots(paths).map(({ name }) => `the snapshot ${name}`),
    ...setAside(paths),
    ...away.map((name) => `the files of the server ${name}, until it starts`),
    OF_ENGINE[engine],
  ]
}

const setAside = ({ db }: DataDirPaths): string[] =>
  named(`cannot read ${db}`, () =>
    existsSync(db)
      ? readdirSync(db)
          .filter(isSetAside)
          .map((name) => join(db, name))
      : [],
  )
