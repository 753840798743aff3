/** The datastore of a simulation in one of two characters: how servers open it, and what the simulation alone sees of it. */
import { VALUES } from "../../src/store/etcd-keys.ts"
import { openSqlStore } from "../../src/store/sql-store.ts"
import type { RecordName, Row, Store, StoredRecord } from "../../src/store/store.ts"
import type { Ask } from "./ask.ts"
import type { Compares } from "./compares.ts"
import { EtcdHistory } from "./etcd-history.ts"
import { fenceOf, openEtcdStore, recordOf } from "./etcd-store.ts"
import { MemoryEngine } from "./sql-engine.ts"
import { SqlTable } from "./sql-table.ts"

export type Character = "sql" | "etcd"

/** What lies there at one moment, byte by byte. */
export interface Stored {
  readonly rows: readonly Row[]
  readonly compacted: number
  readonly keyring: StoredRecord | undefined
  readonly operation: StoredRecord | undefined
  readonly fence: string | undefined
}

export interface Datastore {
  readonly character: Character
  open(ask: Ask): Promise<Store>
  /** Differs after every commit. */
  changes(): number
  look(): Stored
  /** As somebody does who goes past every server. */
  put(key: string, value: Buffer): void
  /** Copies all of it; what is returned puts the copy in the place of what there is then. */
  snapshot(): () => void
}

interface Options {
  /** In one batch, as if they were large. */
  readonly rowsMax: number
  readonly compares: Compares
}

export const makeDatastore = (character: Character, options: Options): Datastore =>
  character === "sql" ? sql(new SqlTable(), options) : etcd(new EtcdHistory(), options)

const sql = (table: SqlTable, options: Options): Datastore => ({
  character: "sql",
  open: (ask) => openSqlStore(new MemoryEngine(table, ask, options), {}),
  changes: () => table.changes,
  look: () => ({
    rows: table.rows.slice(),
    ...recordsOf((name) => table.record(name)),
    fence: table.fence,
    compacted: table.compacted,
  }),
  put: (key, value) => putRow(table, key, value),
  snapshot: () => table.snapshot(),
})

const etcd = (history: EtcdHistory, options: Options): Datastore => ({
  character: "etcd",
  open: (ask) => openEtcdStore(history, ask, options),
  changes: () => history.changes,
  look: () => ({
    rows: history.versions
      .filter(({ key }) => key.startsWith(VALUES))
      .map(({ revision, key, value }) => ({ revision, key, value, previous: undefined })),
    ...recordsOf((name) => recordOf(history, name)),
    fence: fenceOf(history),
    compacted: history.compacted,
  }),
  put: (key, value) => void history.put([{ key, value }]),
  snapshot: () => history.snapshot(),
})

const recordsOf = (record: (name: RecordName) => StoredRecord | undefined) => ({
  keyring: record("keyring"),
  operation: record("operation"),
})

function putRow(table: SqlTable, key: string, value: Buffer): void {
  const row = table.begin({
    key,
    created: true,
    deleted: false,
    createRevision: 0,
    replaces: 0,
    ttlSeconds: 0,
    value,
    previous: undefined,
  })
  if (row !== undefined) table.commit(row)
}
