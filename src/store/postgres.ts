/** The datastore on PostgreSQL 13 and later: kine's table, and the statements on it. postgres-schema.ts has the
 *  functions that write; sql-store.ts decides what they are used for.
 *
 *  What VACUUM cannot clean, and so may hold bytes from before they were rewritten: the write-ahead log and its
 *  archive, replicas, backups, and free space inside of the table's pages until it is used again. */
import { hash } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import type { Client } from "pg"
import { BATCH_BYTES_MAX, COMPACT_KEY, type Span } from "./kine.ts"
import { Connections } from "./postgres-connection.ts"
import { CHANNEL, FENCE_LOCK, FUNCTIONS, SCHEMA } from "./postgres-schema.ts"
import type { PostgresAddress } from "./postgres-url.ts"
import type { EngineStep } from "./sql-engine.ts"
import { SqlRows } from "./sql-rows.ts"
import { openSqlStore, type SqlStoreOptions } from "./sql-store.ts"
import {
  type Columns,
  firstRow,
  integer,
  LOG_ROWS,
  SqlTable,
  type Statements,
} from "./sql-table.ts"
import type { Replacement, Store } from "./store.ts"
import { NO_TLS_FILES, type TlsFiles } from "./tls-files.ts"

/** Announcements cost every server a look, so they are sent this often at most. */
const ANNOUNCE_EVERY_MS = 10

export interface PostgresOptions extends SqlStoreOptions {
  readonly address: PostgresAddress
  readonly tls?: TlsFiles
}

/** Makes the database and the tables where they are missing. */
export async function openPostgres(options: PostgresOptions): Promise<Store> {
  const { address, tls = NO_TLS_FILES } = options
  const connections = await Connections.open(address, tls)
  try {
    await connections.script(SCHEMA)
  } catch (error) {
    await connections.close()
    throw error
  }
  return openSqlStore(new PostgresEngine(connections), options)
}

/** Where the tables are: for a thread beside that of a store. */
export const openPostgresRows = async ({ address, tls = NO_TLS_FILES }: PostgresOptions) =>
  new SqlRows(new PostgresEngine(await Connections.open(address, tls)))

const COMPACTED = `(SELECT MAX(prev_revision) FROM kine WHERE name = '${COMPACT_KEY}')`
/** Where the table stands, of the same snapshot as what stands beside it. */
const STANDING = `(SELECT MAX(id) FROM kine), ${COMPACTED}`

/** Parameters 1 to 3. Older kines made the column with the database's collation; the order is always that of bytes. */
const IN_RANGE = `name COLLATE "C" >= $1 AND ($2::text IS NULL OR name COLLATE "C" < $2)
  AND ($3::text IS NULL OR name COLLATE "C" > $3) AND name <> '${COMPACT_KEY}'`

const NEWEST_OF_EACH = `
  SELECT DISTINCT ON (name COLLATE "C") id, name, deleted FROM kine
  WHERE ${IN_RANGE} AND id <= $4 ORDER BY name COLLATE "C", id DESC`

const ENTRY =
  "k.id, k.name, CASE WHEN k.created = 1 THEN k.id ELSE k.create_revision END AS born, k.value"

/** Rows in the order of their ids, none after the one with which they are more than a batch. */
const batch = (columns: string, where: string, limit: string): string => `
  SELECT ${columns} FROM (
    SELECT *, SUM(COALESCE(octet_length(value), 0) + COALESCE(octet_length(old_value), 0))
      OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (SELECT * FROM kine WHERE ${where} ORDER BY id LIMIT ${limit}) AS rows
  ) AS sized WHERE COALESCE(bytes_before, 0) <= ${BATCH_BYTES_MAX} ORDER BY id`

/** A row that somebody made by hand may have no name. */
const NAME = "COALESCE(name, '')"
const CHANGE = `id, ${NAME} AS name, created, deleted, value, old_value`

const IN_SPAN = `id > $1 AND id <= $2 AND name IS DISTINCT FROM '${COMPACT_KEY}'`

const SQL: Statements = {
  standing: `SELECT ${STANDING}`,
  head: "SELECT * FROM keyturn_head_v1($1, $2)",
  list: `SELECT ${STANDING}, k.* FROM (SELECT) AS one LEFT JOIN (
    SELECT ${ENTRY} FROM (
      SELECT id FROM (${NEWEST_OF_EACH}) AS newest WHERE deleted = 0 ORDER BY name COLLATE "C" LIMIT $5
    ) AS live JOIN kine AS k USING (id)
  ) AS k ON true ORDER BY k.name COLLATE "C"`,
  count: `SELECT COUNT(*) FROM (${NEWEST_OF_EACH}) AS newest WHERE deleted = 0`,
  changes: `SELECT ${COMPACTED}, k.* FROM (SELECT) AS one LEFT JOIN (
    ${batch(CHANGE, 'id > $1 AND id <= $2 AND name COLLATE "C" >= $3 AND ($4::text IS NULL OR name COLLATE "C" < $4)', `${LOG_ROWS}`)}
  ) AS k ON true ORDER BY k.id`,
  log: `SELECT ${STANDING},
    (SELECT COALESCE(string_agg(version, ' ' ORDER BY name), '') FROM keyturn_record)
      || ' ' || COALESCE((SELECT fence FROM keyturn_fence), ''),
    (SELECT ${NAME} FROM kine WHERE id = $1), k.* FROM (SELECT) AS one LEFT JOIN (${batch(`${CHANGE}, lease`, "id > $1", `${LOG_ROWS}`)}) AS k ON true
    ORDER BY k.id`,
  rows: batch(`id, ${NAME}, value, old_value`, IN_SPAN, "$3"),
  heads: `SELECT id, ${NAME}, substring(value, 1, $4::integer), substring(old_value, 1, $4::integer)
    FROM kine WHERE ${IN_SPAN} ORDER BY id LIMIT $3`,
  countRows: `SELECT COUNT(*) FROM kine WHERE ${IN_SPAN}`,
  leased:
    "SELECT name, id, lease FROM kine WHERE id > $1 AND id <= $2 AND lease > 0 AND deleted = 0 AND name IS NOT NULL",
  rowsOf:
    "SELECT id, created, deleted, prev_revision, value FROM kine WHERE name = $1 AND id > $2 ORDER BY id",
  holes: `SELECT before, id - 1 FROM (
    SELECT id, LAG(id, 1, $1::bigint) OVER (ORDER BY id) AS before FROM kine WHERE id > $1
  ) AS steps WHERE id > before + 1 ORDER BY id`,
  write: "SELECT * FROM keyturn_write_v1($1, $2, $3, $4, $5, $6)",
  record: "SELECT value, version FROM keyturn_record WHERE name = $1",
  fence: "SELECT fence FROM keyturn_fence",
}

const GAPS = `(id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)
  SELECT id, 'gap-' || id, 0, 1, 0, 0, 0, NULL, NULL`
const FILL = `INSERT INTO kine ${GAPS}
  FROM generate_series($1::bigint + 1, $2::bigint) AS missing (id) ON CONFLICT DO NOTHING`
/** While no write is under way. The id that `nextval` takes is filled by whoever misses it. */
const leap = (id: number): string => `BEGIN; SET LOCAL lock_timeout = '100ms';
  SELECT pg_advisory_xact_lock(${FENCE_LOCK});
  SELECT setval(sequence, GREATEST(${id}, nextval(sequence)))
    FROM (SELECT pg_get_serial_sequence('kine', 'id')::regclass AS sequence) AS of;
  INSERT INTO kine ${GAPS} FROM (SELECT ${id} AS id) AS missing ON CONFLICT DO NOTHING; COMMIT`
const STEP = "SELECT keyturn_step_v1($1, $2, $3, $4, $5, $6, $7, $8)"
const REWRITE = "SELECT keyturn_rewrite_v2($1, $2, $3, $4, $5, $6, $7)"
/** An announcement is no data: it need not wait for the disk. */
const ANNOUNCE = `BEGIN; SET LOCAL synchronous_commit = off; NOTIFY ${CHANNEL}; COMMIT`

class PostgresEngine extends SqlTable {
  readonly where: string
  readonly #db: Connections
  #wake: () => void = () => {}
  /** Listens, and reads the log; made anew after it was lost. */
  #listener: Client | undefined
  #hasNews = false
  #isAnnouncing = false
  #closed = false

  constructor(db: Connections) {
    super(SQL)
    this.#db = db
    this.where = db.where
  }

  protected override query(text: string, values: readonly unknown[]): Promise<Columns[]> {
    return this.#db.query(text, values)
  }

  protected override async queryLog(text: string, values: readonly unknown[]): Promise<Columns[]> {
    const client = (this.#listener ??= await this.#listen())
    try {
      const query = { text, values: [...values], rowMode: "array" as const }
      return (await client.query<unknown[]>(query)).rows
    } catch (error) {
      this.#listener = undefined
      await client.end().catch(() => {})
      throw this.#db.error(error, { sent: true })
    }
  }

  async step({ compare, put, fence }: EngineStep): Promise<{ revision: number } | "conflict"> {
    const values = [
      compare.map(({ name }) => name),
      compare.map(({ version }) => version),
      put.map(({ name }) => name),
      put.map(({ version }) => version),
      put.map(({ value }) => value),
      fence !== undefined,
      fence?.expected ?? null,
      fence?.next ?? null,
    ]
    const [revision] = firstRow(await this.#db.query(STEP, values))
    return revision === null ? "conflict" : { revision: integer(revision) }
  }

  async rewrite(fence: string, replacements: readonly Replacement[]): Promise<number | "fenced"> {
    const bytes = replacements.map(({ replacement }) => replacement)
    const values = [
      fence,
      replacements.map(({ revision }) => revision),
      replacements.map(({ column }) => column === "value"),
      replacements.map(({ expected }) => hash("sha256", expected, "buffer")),
      startsOf(bytes),
      bytes.map(({ length }) => length),
      Buffer.concat(bytes),
    ]
    const [replaced] = firstRow(await this.#db.query(REWRITE, values))
    return replaced === null ? "fenced" : integer(replaced)
  }

  async compact({ after, upTo }: Span): Promise<void> {
    await this.#db.script(
      `BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT keyturn_compact_v1(${after}, ${upTo}); COMMIT`,
    )
  }

  /** VACUUM knows no parameters and no transaction, and may take long. */
  async scrub(of?: "records"): Promise<void> {
    const client = await this.#db.single({ isUnlimited: true })
    try {
      await client.query(of ? "VACUUM keyturn_record" : "VACUUM kine, keyturn_record")
    } catch (error) {
      throw this.#db.error(error, { sent: true })
    } finally {
      await client.end().catch(() => {})
    }
  }

  async fill({ after, upTo }: Span): Promise<void> {
    await this.#db.query(FILL, [after, upTo])
  }

  /** What was put back has the functions of its time. Where another role owns them they stay: they may be the right ones. */
  async leap(id: number): Promise<void> {
    await this.#db.script(FUNCTIONS).catch(() => {})
    await this.#db.script(leap(id))
  }

  /** Outside of the write's transaction: one that notifies holds back the commits of all others that do. */
  announce(): void {
    this.#hasNews = true
    if (!this.#isAnnouncing) void this.#announceAll()
  }

  onAnnounced(wake: () => void): void {
    this.#wake = wake
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([this.#listener?.end().catch(() => {}), this.#db.close()])
  }

  async #announceAll(): Promise<void> {
    this.#isAnnouncing = true
    while (this.#hasNews && !this.#closed) {
      this.#hasNews = false
      // Nobody misses it for long: every server looks by itself.
      await this.#db.script(ANNOUNCE).catch(() => {})
      await sleep(ANNOUNCE_EVERY_MS)
    }
    this.#isAnnouncing = false
  }

  async #listen(): Promise<Client> {
    const client = await this.#db.single()
    client.on("notification", () => this.#wake())
    try {
      await client.query(`LISTEN ${CHANNEL}`)
    } catch (error) {
      await client.end().catch(() => {})
      throw this.#db.error(error, { sent: false })
    }
    if (this.#closed) await client.end()
    return client
  }
}

/** Where each of byte strings begins that lie one after the other; SQL counts from 1. */
export function startsOf(bytes: readonly Uint8Array[]): number[] {
  let next = 1
  return bytes.map(({ length }) => {
    const start = next
    next += length
    return start
  })
}
