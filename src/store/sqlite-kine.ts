/** kine's table on SQLite, statement by statement; kine.ts says what a row means.
 *
 *  SQLite keeps any type in any column, and files of other programs are taken up here. Every value is therefore read and
 *  compared as BLOB. A name that is no TEXT is nobody's key; the rewriter alone sees its row, for its value counts. */
import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite"
import { bug } from "../errors.ts"
import { bufferOf } from "../format/wire.ts"
import {
  BATCH_BYTES_MAX,
  COMPACT_KEY,
  type Head,
  keysEnd,
  type Leased,
  liveEntry,
  NEWEST,
  type Span,
  sizeBytes,
  toChange,
} from "./kine.ts"
import type { Change, Entry, Replacement, Row } from "./store.ts"
import type { Stretch } from "./watch-hub.ts"

export interface KeyRange {
  readonly start: string
  /** First key beyond the range; an empty blob, which SQLite sorts above all text, where there is none. */
  readonly end: string | Uint8Array
}

type Columns = readonly SQLOutputValue[]

const integer = (value: SQLOutputValue | undefined): number =>
  typeof value === "number" ? value : 0
const text = (value: SQLOutputValue | undefined): string =>
  typeof value === "string" ? value : bug("kine.name is not TEXT")
const blob = (value: SQLOutputValue | undefined): Buffer | undefined =>
  value instanceof Uint8Array ? bufferOf(value) : undefined

/** Keys that begin with `prefix` and are above `after`. */
export function keyRange(prefix: string, after = ""): KeyRange {
  const next = `${after}\0`
  const start = Buffer.compare(Buffer.from(next), Buffer.from(prefix)) > 0 ? next : prefix
  return { start, end: keysEnd(prefix) ?? new Uint8Array() }
}

const ENTRY = "k.id, k.name, iif(k.created = 1, k.id, k.create_revision), CAST(k.value AS BLOB)"
const toEntry = ([id, name, createRevision, value]: Columns): Entry => ({
  key: text(name),
  value: blob(value) ?? Buffer.alloc(0),
  revision: integer(id),
  createRevision: integer(createRevision),
})

const CHANGE = "id, name, created, deleted, CAST(value AS BLOB), CAST(old_value AS BLOB)"
const readChange = ([id, name, created, deleted, value, old]: Columns): Change | undefined =>
  toChange({
    revision: integer(id),
    key: text(name),
    created: integer(created) === 1,
    deleted: integer(deleted) === 1,
    value: blob(value),
    previous: blob(old),
  })

/** In place of a head that is known already: a buffer for each takes longer than to read the row. */
const IS_COMMON = 1

const WHOLE = "CAST(value AS BLOB), CAST(old_value AS BLOB)"
const toRow = ([id, name, value, old]: Columns, common?: Buffer): Row => ({
  revision: integer(id),
  key: text(name),
  value: value === IS_COMMON ? common : blob(value),
  previous: old === IS_COMMON ? common : blob(old),
})

/** Ends with the row that makes it too many bytes. */
function readRows(found: Iterable<unknown>, common?: Buffer): Row[] {
  const rows: Row[] = []
  let bytes = 0
  for (const columns of found) {
    const row = toRow(array(columns), common)
    rows.push(row)
    bytes += sizeBytes([row])
    if (bytes > BATCH_BYTES_MAX) break
  }
  return rows
}

/** The newest row of each key of a range at a revision, in key order. The inner ORDER BY is free, the index has that
 *  order; with it the outer one needs no sort and a limit ends the scan. Parameters: start, end, revision. */
const LIVE = `
  FROM (SELECT MAX(id) AS id, name FROM kine INDEXED BY kine_name_id_index
        WHERE name >= ? AND name < ? AND id <= ? AND name <> '${COMPACT_KEY}'
        GROUP BY name ORDER BY name) AS newest
  CROSS JOIN kine AS k ON k.id = newest.id
  WHERE k.deleted = 0`

export class KineTable {
  readonly #revision: StatementSync
  readonly #compacted: StatementSync
  readonly #head: StatementSync
  readonly #list: StatementSync
  readonly #count: StatementSync
  readonly #changes: StatementSync
  readonly #rows: StatementSync
  readonly #heads: StatementSync
  readonly #others: StatementSync
  readonly #countRows: StatementSync
  readonly #compactRow: StatementSync
  readonly #leased: StatementSync
  readonly #stepEnd: StatementSync
  readonly #insert: StatementSync
  readonly #replace: { readonly value: StatementSync; readonly previous: StatementSync }
  readonly #forget: StatementSync
  readonly #setCompacted: StatementSync

  constructor(db: DatabaseSync) {
    const query = (sql: string): StatementSync => {
      const statement = db.prepare(sql)
      statement.setReturnArrays(true)
      return statement
    }
    // run() reports the connection's last row id too, which a refused insert may have left above 2^53.
    const change = (sql: string): StatementSync => {
      const statement = db.prepare(sql)
      statement.setReadBigInts(true)
      return statement
    }
    this.#revision = query("SELECT MAX(id) FROM kine")
    this.#compacted = query(`SELECT MAX(prev_revision) FROM kine WHERE name = '${COMPACT_KEY}'`)
    this.#head = query(
      `SELECT ${ENTRY}, k.deleted FROM kine AS k WHERE name = ? AND id <= ? ORDER BY id DESC LIMIT 1`,
    )
    this.#list = query(`SELECT ${ENTRY} ${LIVE} ORDER BY newest.name LIMIT ?`)
    this.#count = query(`SELECT COUNT(*) ${LIVE}`)
    this.#changes = query(
      `SELECT ${CHANGE} FROM kine
       WHERE id > ? AND id <= ? AND +name >= ? AND +name < ? ORDER BY id`,
    )
    const rows = (columns: string, and = ""): StatementSync =>
      query(
        `SELECT id, ifnull(CAST(name AS TEXT), ''), ${columns} FROM kine
         WHERE id > ?1 AND id <= ?2 AND +name IS NOT '${COMPACT_KEY}' ${and} ORDER BY id LIMIT ?3`,
      )
    this.#rows = rows(WHOLE)
    const start = (column: string, bytes: string): string =>
      `substr(CAST(${column} AS BLOB), 1, ${bytes})`
    const head = (column: string): string =>
      `iif(${start(column, "length(?5)")} = ?5, ${IS_COMMON}, ${start(column, "?4")})`
    this.#heads = rows(`${head("value")}, ${head("old_value")}`)
    const isOther = (column: string): string => `${start(column, "length(?4)")} <> ?4`
    this.#others = rows(WHOLE, `AND (${isOther("value")} OR ${isOther("old_value")})`)
    this.#countRows = query("SELECT count(*) FROM kine WHERE id > ? AND id <= ?")
    this.#compactRow = query(`SELECT id FROM kine WHERE name = '${COMPACT_KEY}'`)
    this.#leased = query(
      `SELECT name, id, lease FROM kine
       WHERE id > ? AND id <= ? AND lease > 0 AND +deleted = 0 AND typeof(name) = 'text'`,
    )
    this.#stepEnd = query(
      "SELECT MAX(id) FROM (SELECT id FROM kine WHERE id > ? ORDER BY id LIMIT ?)",
    )
    this.#insert = query(
      `INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, (SELECT value FROM kine WHERE id = ?5))`,
    )
    this.#replace = {
      value: change("UPDATE kine SET value = ? WHERE id = ? AND CAST(value AS BLOB) = ?"),
      previous: change(
        "UPDATE kine SET old_value = ? WHERE id = ? AND CAST(old_value AS BLOB) = ?",
      ),
    }
    this.#forget = change(
      `DELETE FROM kine WHERE id IN (
         SELECT prev_revision FROM kine
         WHERE id > ?1 AND id <= ?2 AND name <> '${COMPACT_KEY}' AND prev_revision <> 0
         UNION SELECT id FROM kine
         WHERE id >= ?1 AND id <= ?2 AND deleted <> 0 AND id < (SELECT MAX(id) FROM kine))`,
    )
    this.#setCompacted = change(
      `UPDATE kine SET prev_revision = MAX(prev_revision, ?) WHERE name = '${COMPACT_KEY}'`,
    )
  }

  revision(): number {
    return integer(first(this.#revision.get()))
  }

  compacted(): number {
    return integer(first(this.#compacted.get()))
  }

  head(key: string, revision = NEWEST): Head | undefined {
    const row = columns(this.#head.get(key, revision))
    return row && { entry: toEntry(row), deleted: integer(row[4]) === 1 }
  }

  /** The live entry. */
  live(key: string, revision = NEWEST): Entry | undefined {
    return liveEntry(this.head(key, revision))
  }

  list({ start, end }: KeyRange, at: { revision: number; limit: number }): Entry[] {
    const { revision, limit } = at
    return this.#list.all(start, end, revision, limit).map((row) => toEntry(array(row)))
  }

  count({ start, end }: KeyRange, revision = NEWEST): number {
    return integer(first(this.#count.get(start, end, revision)))
  }

  changes({ start, end }: KeyRange, span: Span): Stretch {
    const compacted = this.compacted()
    const changes: Change[] = []
    let bytes = 0
    for (const row of this.#changes.iterate(span.after, span.upTo, start, end)) {
      const change = readChange(array(row))
      if (change === undefined) continue
      changes.push(change)
      bytes += (change.value?.length ?? 0) + (change.previous?.length ?? 0)
      if (bytes > BATCH_BYTES_MAX) return { changes, upTo: change.revision, compacted }
    }
    return { changes, upTo: span.upTo, compacted }
  }

  rows(span: Span & { limit: number }): Row[] {
    return readRows(this.#rows.iterate(span.after, span.upTo, span.limit))
  }

  /** As {@link rows}, but no byte string is longer than `headBytes`, and one that begins with `common` is that alone. */
  heads(span: Heads): Row[] {
    const { after, upTo, limit, headBytes, common = null } = span
    const found = this.#heads.iterate(after, upTo, limit, headBytes, common)
    return readRows(found, common === null ? undefined : bufferOf(common))
  }

  /** Of the rows above `after`, `limit` at most, those that hold a byte string which does not begin with `except`; the id up to
   *  which that was looked for, and how many were left out. */
  others(span: Span & { limit: number; except: Uint8Array }): {
    rows: Row[]
    upTo: number
    leftOut: number
  } {
    const { after, limit, except } = span
    // Kine's own row is none of them: a step that held it alone would look like the end.
    const own = integer(first(this.#compactRow.get()))
    const step = this.stepEnd({ after, rows: limit })
    const holdsOwn = after < own && own <= step
    const stepEnd = holdsOwn ? this.stepEnd({ after, rows: limit + 1 }) : step
    const upTo = Math.max(after, Math.min(span.upTo, stepEnd))
    const rows = readRows(this.#others.iterate(after, upTo, limit, except))
    const end = sizeBytes(rows) > BATCH_BYTES_MAX ? (rows.at(-1)?.revision ?? upTo) : upTo
    const leftOut = this.countRows({ after, upTo: end }) - rows.length
    return { rows, upTo: end, leftOut }
  }

  countRows({ after, upTo }: Span): number {
    const compactRow = integer(first(this.#compactRow.get()))
    const own = after < compactRow && compactRow <= upTo ? 1 : 0
    return integer(first(this.#countRows.get(after, upTo))) - own
  }

  /** The revision that the next `rows` rows above `after` end with; 0 where there are none. Ids may lie far apart. */
  stepEnd({ after, rows }: { after: number; rows: number }): number {
    return integer(first(this.#stepEnd.get(after, rows)))
  }

  leased({ after, upTo }: Span): Leased[] {
    return this.#leased.all(after, upTo).map((row) => {
      const [key, revision, ttlSeconds] = array(row)
      return { key: text(key), revision: integer(revision), ttlSeconds: integer(ttlSeconds) }
    })
  }

  /** `tombstone`: id of the row that deleted the key before, 0 where there is none. */
  create(key: string, { value, ttl, tombstone }: Created): number {
    return Number(this.#insert.run(key, 1, 0, 0, tombstone, ttl, value).lastInsertRowid)
  }

  update(replaced: Entry, { value, ttl }: { value: Uint8Array; ttl: number }): number {
    const { key, createRevision, revision } = replaced
    return Number(this.#insert.run(key, 0, 0, createRevision, revision, ttl, value).lastInsertRowid)
  }

  delete({ key, revision }: Entry): number {
    return Number(this.#insert.run(key, 0, 1, 0, revision, 0, null).lastInsertRowid)
  }

  /** Whether the row still held the bytes that were read. */
  replace({ revision, column, expected, replacement }: Replacement): boolean {
    return this.#replace[column].run(replacement, revision, expected).changes === 1n
  }

  /** kine's delete set for the revisions above the compacted one up to `revision`: what they replaced, and tombstones. One that
   *  is the newest row stays until the next time, for the newest revision is that of the newest row. */
  compact(revision: number): void {
    this.#forget.run(this.compacted(), revision)
    this.#setCompacted.run(revision)
  }
}

interface Heads extends Span {
  readonly limit: number
  readonly headBytes: number
  readonly common: Uint8Array | undefined
}

interface Created {
  readonly value: Uint8Array
  readonly ttl: number
  readonly tombstone: number
}

/** node:sqlite's types do not know setReturnArrays. */
const isColumns = (row: unknown): row is Columns => Array.isArray(row)
const array = (row: unknown): Columns => (isColumns(row) ? row : bug("a row is not an array"))
const columns = (row: unknown): Columns | undefined => (row === undefined ? row : array(row))
const first = (row: unknown): SQLOutputValue | undefined => columns(row)?.[0]
