/** The datastore on MariaDB 10.6 and later, and by the same statements on MySQL 8: kine's table, and what is asked of
 *  it. mysql-schema.ts has the procedures that write; sql-store.ts decides what they are used for.
 *
 *  As in kine, a key's case tells it from no other key where it is written: the column compares without case. Reads
 *  compare bytes, so that nobody is given what he did not ask for.
 *
 *  What rebuilding the table cannot clean, and so may hold bytes from before they were rewritten: undo and redo logs,
 *  the doublewrite buffer, the binary log, replicas, backups, and the blocks that the old file has left on the disk. */
import { setTimeout as sleep } from "node:timers/promises"
import { KnownError } from "../errors.ts"
import { BATCH_BYTES_MAX, COMPACT_KEY, type Span } from "./kine.ts"
import { NotDone } from "./lost-answer.ts"
import { Connections } from "./mysql-connection.ts"
import { TimeIsOver } from "./mysql-errors.ts"
import { FIRST_ROWS, INDEXES, INDEXES_THERE, PROCEDURES, TABLES } from "./mysql-schema.ts"
import type { MysqlAddress } from "./mysql-url.ts"
import type { EngineStep } from "./sql-engine.ts"
import { SqlRows } from "./sql-rows.ts"
import { isMade, openSqlStore, type SqlStoreOptions } from "./sql-store.ts"
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

/** What a message may hold of bytes to replace and replacements: the server's limit is 16 MiB, and base64 is longer. */
const REWRITE_BYTES_MAX = 4 << 20
/** Few rows for each look at the log, for to sum up their bytes costs more than the look. */
const LOG_ROWS_MAX = 32
const FILL_ROWS_MAX = 500
/** Each waits a second for the transaction that holds an id. */
const FILL_ATTEMPTS_MAX = 10
const SCHEMA_LOCK_SECONDS = 10
/** A rebuild waits this long for the table to be free, and is tried again. */
const SCRUB_LOCK_SECONDS = 2
const SCRUB_ATTEMPTS_MAX = 5
/** While a rebuild waits, every later statement waits behind it; these have this long before the next try. */
const SCRUB_PAUSE_MS = 1_000
const SCRUB_TIMEOUT_MS = 24 * 3600 * 1000

export interface MysqlOptions extends SqlStoreOptions {
  readonly address: MysqlAddress
  readonly tls?: TlsFiles
}

/** Makes the database and the tables where they are missing. */
export async function openMysql(options: MysqlOptions): Promise<Store> {
  const connections = await connectionsOf(options)
  try {
    await makeSchema(connections)
  } catch (error) {
    await connections.close()
    throw error
  }
  return openSqlStore(new MysqlEngine(connections), options)
}

/** Where the tables are: for a thread beside that of a store. */
export const openMysqlRows = async (options: MysqlOptions) =>
  new SqlRows(new MysqlEngine(await connectionsOf(options)))

const connectionsOf = ({ address, tls = NO_TLS_FILES }: MysqlOptions) =>
  Connections.open(address, { files: tls, writes: [SQL.write, STEP] })

/** Servers that start together take turns: what makes tables is no transaction here. The lock goes with the connection. */
async function makeSchema(connections: Connections): Promise<void> {
  const session = await connections.single()
  try {
    const lock = `GET_LOCK(CONCAT('keyturn ', MD5(DATABASE())), ${SCHEMA_LOCK_SECONDS})`
    if (firstRow(await session.query(`SELECT ${lock}`))[0] !== 1) {
      throw new NotDone(`${connections.where}: another server is making the tables`)
    }
    for (const statement of TABLES) await session.query(statement)
    const there = (await session.query(INDEXES_THERE)).flat()
    for (const [name, index] of Object.entries(INDEXES)) {
      if (!there.includes(name)) await session.query(`CREATE ${index}`)
    }
    for (const statement of [...FIRST_ROWS, ...PROCEDURES]) await session.query(statement)
  } catch (error) {
    throw connections.error(error, { sent: true })
  } finally {
    session.end()
  }
}

const COMPACTED = `(SELECT MAX(prev_revision) FROM kine WHERE name = '${COMPACT_KEY}')`
/** Where the table stands, of the same snapshot as what stands beside it. */
const STANDING = `(SELECT MAX(id) FROM kine), ${COMPACTED}`

/** For the index: a constant of the column's own character set. What is no ASCII becomes "?"; bytes tell them apart. */
const ascii = (parameter: string): string => `CONVERT(${parameter} USING ascii)`
const BYTES = "CAST(name AS BINARY)"
/** Keys with a prefix, which ends before `end`, by their bytes; the first line is for the index. */
const between = (prefix: string, end: string): string =>
  `name >= ${ascii(prefix)} AND name < CONCAT(${ascii(prefix)}, CHAR(127 USING ascii))
  AND ${BYTES} >= ${prefix} AND (${end} IS NULL OR ${BYTES} < ${end})`

/** The newest row of each key of a range, whose parameters are 1 to 3. */
const NEWEST_OF_EACH = `
  (SELECT MAX(id) AS id FROM kine
  WHERE ${between("$1", "$2")} AND ($3 IS NULL OR ${BYTES} > $3) AND NOT name <=> '${COMPACT_KEY}' AND id <= $4
  GROUP BY name) AS newest`

const ENTRY =
  "k.id, k.name, CASE WHEN k.created = 1 THEN k.id ELSE k.create_revision END AS born, k.value"
/** A row that somebody made by hand may have no name. */
const NAME = "COALESCE(k.name, '')"
const CHANGE = `k.id, ${NAME}, k.created, k.deleted, k.value, k.old_value`

/** Rows in the order of their ids, none after the one with which they are more than a batch. No bytes go through the
 *  tables in between: those with bytes lie on the disk. */
const batch = (where: string, limit: string): string => `
  (SELECT id FROM (
    SELECT id, SUM(bytes) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (
      SELECT id, COALESCE(LENGTH(value), 0) + COALESCE(LENGTH(old_value), 0) AS bytes
      FROM kine WHERE ${where} ORDER BY id LIMIT ${limit}
    ) AS found
  ) AS sized WHERE COALESCE(bytes_before, 0) <= ${BATCH_BYTES_MAX}) AS batch`
const joinedToOne = (columns: string, where: string): string => `
  SELECT ${columns} FROM (SELECT 1 AS one) AS one LEFT JOIN ${batch(where, `${LOG_ROWS}`)} ON TRUE
  LEFT JOIN kine AS k ON k.id = batch.id ORDER BY batch.id`

const IN_SPAN = `id > $1 AND id <= $2 AND NOT name <=> '${COMPACT_KEY}'`

const SQL: Statements = {
  standing: `SELECT ${STANDING}`,
  head: `SELECT ${STANDING}, ${ENTRY}, k.deleted FROM kine AS k FORCE INDEX (kine_name_id_index)
    WHERE name = ${ascii("$1")} AND ${BYTES} = $1 AND id <= $2 ORDER BY id DESC LIMIT 1`,
  list: `SELECT ${STANDING}, ${ENTRY} FROM (SELECT 1 AS one) AS one LEFT JOIN (
      SELECT id, ${BYTES} AS bytes FROM ${NEWEST_OF_EACH} JOIN kine USING (id)
      WHERE deleted = 0 ORDER BY bytes LIMIT $5
    ) AS live ON TRUE LEFT JOIN kine AS k ON k.id = live.id ORDER BY live.bytes`,
  count: `SELECT COUNT(*) FROM ${NEWEST_OF_EACH} JOIN kine USING (id) WHERE deleted = 0`,
  changes: joinedToOne(
    `${COMPACTED}, ${CHANGE}`,
    `id > $1 AND id <= $2 AND ${between("$3", "$4")}`,
  ),
  log: `SELECT ${STANDING}, CONCAT(
      COALESCE((SELECT GROUP_CONCAT(version ORDER BY name SEPARATOR ' ') FROM keyturn_record), ''), ' ',
      COALESCE((SELECT fence FROM keyturn_fence), '')), (SELECT ${NAME} FROM kine AS k WHERE id = $1), ${CHANGE}, k.lease
    FROM (SELECT 1 AS one) AS one LEFT JOIN (
      SELECT id FROM kine WHERE id > $1 ORDER BY id LIMIT ${LOG_ROWS_MAX}
    ) AS batch ON TRUE LEFT JOIN kine AS k ON k.id = batch.id ORDER BY batch.id`,
  rows: `SELECT k.id, ${NAME}, k.value, k.old_value FROM ${batch(IN_SPAN, "$3")}
    JOIN kine AS k USING (id) ORDER BY k.id`,
  heads: `SELECT id, ${NAME}, SUBSTRING(value, 1, $4), SUBSTRING(old_value, 1, $4)
    FROM kine AS k WHERE ${IN_SPAN} ORDER BY id LIMIT $3`,
  countRows: `SELECT COUNT(*) FROM kine WHERE ${IN_SPAN}`,
  leased: `SELECT name, id, lease FROM kine
    WHERE id > $1 AND id <= $2 AND lease > 0 AND deleted = 0 AND name IS NOT NULL`,
  rowsOf: `SELECT id, created, deleted, prev_revision, value FROM kine
    WHERE name = ${ascii("$1")} AND ${BYTES} = $1 AND id > $2 ORDER BY id`,
  holes: `SELECT before_it, id - 1 FROM (
    SELECT id, COALESCE(LAG(id) OVER (ORDER BY id), $1) AS before_it FROM kine WHERE id > $1
  ) AS steps WHERE id > before_it + 1 ORDER BY id`,
  write: "CALL keyturn_write_v1($1, $2, $3, $4, $5, $6)",
  record: "SELECT value, version FROM keyturn_record WHERE name = $1",
  fence: "SELECT fence FROM keyturn_fence WHERE fence IS NOT NULL",
}

/** MariaDB ends it after 100 ms, most of which it may wait for the lock: one that does not let go keeps it from nobody
 *  else for longer. MySQL knows no such limit; there a lock is waited for for a second. */
const STEP =
  "/*M! SET STATEMENT max_statement_time = 0.1 FOR */ CALL keyturn_step_v1($1, $2, $3, $4, $5)"
const REWRITE = "CALL keyturn_rewrite_v1($1, $2)"
const COMPACT = "CALL keyturn_compact_v1($1, $2)"
/** The file is written anew, while others read and write the table. */
const REBUILD = "ALTER TABLE $table FORCE, ALGORITHM=INPLACE, LOCK=NONE"

class MysqlEngine extends SqlTable {
  readonly where: string
  readonly #db: Connections
  readonly #closing = new AbortController()

  constructor(db: Connections) {
    super(SQL, LOG_ROWS_MAX)
    this.#db = db
    this.where = db.where
  }

  protected override query(text: string, values: readonly unknown[]): Promise<Columns[]> {
    return this.#db.query(text, values)
  }

  async step(step: EngineStep): Promise<{ revision: number } | "conflict"> {
    const { compare, fence } = step
    const put = step.put.map((record) => ({ ...record, value: base64(record.value) }))
    const values = [
      JSON.stringify(compare),
      JSON.stringify(put),
      fence !== undefined,
      fence?.expected ?? null,
      fence?.next ?? null,
    ]
    try {
      const [revision] = firstRow(await this.#db.query(STEP, values))
      return revision === null ? "conflict" : { revision: integer(revision) }
    } catch (error) {
      // The server has ended it, so that one look tells what became of it.
      const isUndone = error instanceof TimeIsOver && !(await isMade(this, step).catch(() => true))
      throw isUndone ? new NotDone(error.message, { cause: error }) : error
    }
  }

  /** In several messages where one would be too long; each is fenced. */
  async rewrite(fence: string, replacements: readonly Replacement[]): Promise<number | "fenced"> {
    let replaced = 0
    for (const part of parts(replacements)) {
      const [count] = firstRow(await this.#db.query(REWRITE, [fence, JSON.stringify(part)]))
      if (count === null) return "fenced"
      replaced += integer(count)
    }
    return replaced
  }

  async compact({ after, upTo }: Span): Promise<void> {
    await this.#db.query(COMPACT, [after, upTo])
  }

  async scrub(of?: "records"): Promise<void> {
    const session = await this.#db.single()
    try {
      await session.query(`SET SESSION lock_wait_timeout = ${SCRUB_LOCK_SECONDS}`)
      for (const table of of ? ["keyturn_record"] : ["kine", "keyturn_record"]) {
        const rebuild = () =>
          session.query(REBUILD.replace("$table", table), [], { timeoutMs: SCRUB_TIMEOUT_MS })
        const attempt = () =>
          rebuild().catch((error: unknown) => {
            throw this.#db.error(error, { sent: true })
          })
        await this.#attempts(attempt, { max: SCRUB_ATTEMPTS_MAX, pauseMs: SCRUB_PAUSE_MS })
      }
    } finally {
      session.end()
    }
  }

  /** Rows one by one, for a statement that counts them itself would keep new ids from everybody while it waits. */
  async fill({ after, upTo }: Span): Promise<void> {
    for (let first = after + 1; first <= upTo; first += FILL_ROWS_MAX) {
      const length = Math.min(FILL_ROWS_MAX, upTo - first + 1)
      const rows = Array.from({ length }, (_, index) => filler(first + index))
      const attempt = () => this.#db.query(`${FILL} ${rows.join()}`)
      await this.#attempts(attempt, { max: FILL_ATTEMPTS_MAX })
    }
  }

  /** This database never goes back to an id that it gave. */
  leap(id: number): Promise<void> {
    return this.fill(only(id))
  }

  /** Nobody listens: every server looks by itself, once a second, and at once after its own writes. */
  announce(): void {}
  onAnnounced(): void {}

  close(): Promise<void> {
    this.#closing.abort()
    return this.#db.close()
  }

  async #attempts(
    action: () => Promise<unknown>,
    { max, pauseMs = 0 }: { readonly max: number; readonly pauseMs?: number },
  ): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await action()
        return
      } catch (error) {
        if (!(error instanceof NotDone) || attempt === max) throw error
      }
      if (pauseMs > 0) await this.#pause(pauseMs)
    }
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#closing
    await sleep(ms, undefined, { signal }).catch(() => {})
    if (signal.aborted) throw new KnownError("StoreUnavailable", "the store is closed")
  }
}

const FILL = `INSERT IGNORE INTO kine
  (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value) VALUES`
const only = (id: number): Span => ({ after: id - 1, upTo: id })
const filler = (id: number): string => `(${id}, 'gap-${id}', 0, 1, 0, 0, 0, NULL, NULL)`

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64")

/** Replacements as the procedure takes them, in parts that fit into a message. */
function parts(replacements: readonly Replacement[]): object[][] {
  const found: object[][] = []
  let roomBytes = -1
  for (const { revision, column, expected, replacement } of replacements) {
    const sizeBytes = expected.length + replacement.length
    if (sizeBytes > roomBytes) {
      roomBytes = REWRITE_BYTES_MAX
      found.push([])
    }
    roomBytes -= sizeBytes
    const bytes = { expected: base64(expected), replacement: base64(replacement) }
    found.at(-1)?.push({ id: revision, is_value: column === "value" ? 1 : 0, ...bytes })
  }
  return found
}
