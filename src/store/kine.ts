/** What is kine's in any SQL database (k3s-io/kine v0.16, pkg/drivers/generic and pkg/logstructured).
 *
 *  Each change is one new row; the id is the revision:
 *
 *    change   created  deleted  create_revision            prev_revision            value  old_value
 *    create   1        0        0 (means: its own id)      0, or the tombstone's id  new    NULL
 *    update   0        0        that of the row replaced   id of the row replaced   new    the one replaced
 *    delete   0        1        0                          id of the row deleted    NULL   the one deleted
 *
 *  UNIQUE (name, prev_revision) makes two successors of one row impossible, whoever writes. An id that was taken and never
 *  committed becomes a row `gap-<id>`, so that a reader in the order of ids knows that nothing comes there any more. */
import type { Change, Entry, Row, RowBatch, RowRange } from "./store.ts"

/** The row whose prev_revision holds the compacted revision. */
export const COMPACT_KEY = "compact_rev_key"
export const HEALTH_KEY = "/registry/health"
export const HEALTH_VALUE = '{"health":"true"}'

/** Revisions with `after` < revision ≤ `upTo`. */
export interface Span {
  readonly after: number
  readonly upTo: number
}

/** Above every revision. */
export const NEWEST = Number.MAX_SAFE_INTEGER
/** A batch of rows ends early above this, so that few large values cannot fill the memory. */
export const BATCH_BYTES_MAX = 8 << 20

/** The newest row of a key, tombstones included. */
export interface Head {
  readonly entry: Entry
  readonly deleted: boolean
}

export interface Leased {
  readonly key: string
  readonly revision: number
  readonly ttlSeconds: number
}

export interface ChangeRow {
  readonly revision: number
  readonly key: string
  readonly created: boolean
  readonly deleted: boolean
  readonly value: Buffer | undefined
  readonly previous: Buffer | undefined
}

/** undefined for kine's own rows, which are nobody's change: the compact row and the fillers of gaps. */
export function toChange({
  revision,
  key,
  created,
  deleted,
  ...row
}: ChangeRow): Change | undefined {
  if (key === COMPACT_KEY || key === `gap-${revision}`) return undefined
  const { value = Buffer.alloc(0), previous = Buffer.alloc(0) } = row
  if (created) return { type: "create", key, revision, value }
  if (deleted) return { type: "delete", key, revision, previous }
  return { type: "update", key, revision, value, previous }
}

export const liveEntry = (head: Head | undefined): Entry | undefined =>
  head?.deleted === false ? head.entry : undefined

/** A cursor over rows is the id of the last one, as text. */
export const spanOf = ({ cursor, upTo = NEWEST }: RowRange): Span => ({
  after: Number(cursor),
  upTo,
})

/** Of rows that are cut off behind `limit`, or behind the one that makes them more than {@link BATCH_BYTES_MAX}. */
export const rowBatch = ({ after, limit }: Span & { limit: number }, rows: Row[]): RowBatch => ({
  rows,
  cursor: `${rows.at(-1)?.revision ?? after}`,
  isLast: rows.length < limit && sizeBytes(rows) <= BATCH_BYTES_MAX,
})

export const sizeBytes = (rows: readonly Row[]): number =>
  rows.reduce((sum, { value, previous }) => sum + (value?.length ?? 0) + (previous?.length ?? 0), 0)

/** The first string above every string that begins with `prefix`, in UTF-8 order; undefined where there is none. */
export function keysEnd(prefix: string): string | undefined {
  const points = Array.from(prefix, (char) => char.codePointAt(0) ?? 0)
  while (points.at(-1) === 0x10ffff) points.pop()
  const last = points.pop()
  if (last === undefined) return undefined
  return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1)
}
