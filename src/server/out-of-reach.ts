/** Copies of the keyring that no command of a server reaches: whoever has one, and the token of that time, has the keys that
 *  were in it. */
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { type DataDirPaths, isSetAside } from "../cluster/data-dir.ts"
import { named } from "../cluster/files.ts"
import { listSnapshots } from "../cluster/snapshots.ts"
import { LEASE_MS } from "../rotation/lease.ts"
import type { Datastore } from "../store/datastore.ts"
import type { ServerStatus } from "./status.ts"

// biome-ignore format: a table; docs/format.md says more of each
const OF_ENGINE: Readonly<Record<Datastore["kind"], string>> = {
  sqlite:   "backups of the database's file, and what the file system keeps of it",
  etcd:     "etcd's write-ahead log, its free pages until etcdctl defrag, and snapshots of it",
  postgres: "PostgreSQL's write-ahead log and its archive, replicas and backups",
  mysql:    "the database's undo and redo logs, binary log, replicas and backups",
}

const LOOK_MS = 100

interface Asked {
  readonly servers: () => Promise<readonly ServerStatus[]>
  readonly monotonicMs: () => number
}

/** Names of the servers that do not answer, and of those that have not told of the keyring of `epoch` in the time after which one
 *  without a word is gone: such a one may have died just now, and its file says what it said. */
export async function serversBehind(
  { servers, monotonicMs }: Asked,
  epoch: number,
): Promise<string[]> {
  const overMs = monotonicMs() + LEASE_MS
  for (;;) {
    const all = await servers()
    const isBehind = (one: ServerStatus) => one.epoch !== undefined && one.epoch < epoch
    const isAwaited = all.some((one) => one.ready && isBehind(one))
    if (!isAwaited || monotonicMs() > overMs)
      return all.filter((one) => !one.ready || isBehind(one)).map(({ name }) => name)
    await sleep(LOOK_MS)
  }
}

/** In words for people. `away`: names of the servers whose files are as they were. */
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
