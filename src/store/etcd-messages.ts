/** etcd's messages (api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto of etcd 3.4), as far as they are used here. What
 *  is not used is skipped. */
import { BYTES, Reader, VARINT, Writer } from "../format/wire.ts"

type Bytes = Uint8Array | string

/** `range`: every key from `key` up to, not including, `end`; without `end` the one key. */
export interface KeySpan {
  readonly key: Bytes
  readonly end?: Bytes | undefined
}

export interface RangeAsked extends KeySpan {
  readonly limit?: number
  /** Undefined, or 0: the newest. */
  readonly revision?: number | undefined
  /** As the member has it that is asked, which may lag behind the others; it need not wait for any. */
  readonly isSerializable?: boolean
  readonly countOnly?: boolean
}

/** One condition of a transaction. A revision of 0: the key does not exist. */
export type Compare = { readonly key: Bytes } & (
  | { readonly created: number }
  | { readonly modified: number }
  | { readonly value: Bytes }
)

export type Operation =
  | { readonly range: RangeAsked }
  | { readonly put: Put }
  | { readonly remove: { readonly key: Bytes } }

export interface Put {
  readonly key: Bytes
  readonly value: Bytes
  readonly lease?: number
  /** Leaves the key's lease as it is; the key must exist. */
  readonly keepsLease?: boolean
}

export interface Txn {
  readonly compare: readonly Compare[]
  readonly success: readonly Operation[]
  readonly failure: readonly Operation[]
}

export interface KeyValue {
  readonly key: string
  readonly created: number
  readonly modified: number
  readonly value: Buffer
  readonly isLeased: boolean
}

export interface Ranged {
  readonly revision: number
  readonly entries: KeyValue[]
  /** All of the range, whatever the limit was. */
  readonly count: number
}

export interface TxnAnswer {
  readonly revision: number
  readonly succeeded: boolean
  /** What each operation that is a range found, in order. */
  readonly ranges: readonly KeyValue[][]
}

export interface WatchEvent {
  readonly deleted: boolean
  /** Of a deleted key: its name and the revision that deleted it. */
  readonly entry: KeyValue
}

export interface WatchAnswer {
  readonly revision: number
  readonly created: boolean
  readonly canceled: boolean
  /** Above 0: history begins there, and the watch asked for older. */
  readonly compacted: number
  readonly reason: string
  /** More events of the same revisions follow in the next answer. */
  readonly fragment: boolean
  readonly events: WatchEvent[]
}

// Writing

/** Of a message, with its tag. It writes itself in front of what is written already: what it holds is as long as that is then. */
export type Field = (writer: Writer) => void

const writer = new Writer()

export function encode(fields: readonly Field[]): Buffer {
  writer.start()
  writeAll(fields, writer)
  return writer.finish()
}

function writeAll(fields: readonly Field[], writer: Writer): void {
  for (let i = fields.length - 1; i >= 0; i--) fields[i]?.(writer)
}

export const int =
  (field: number, value: number): Field =>
  (writer) => {
    writer.varint(value)
    writer.varint(field * 8 + VARINT)
  }

/** A number that one of ours does not hold, as it stood in a message. */
export const long =
  (field: number, varint: Uint8Array): Field =>
  (writer) => {
    writer.raw(varint)
    writer.varint(field * 8 + VARINT)
  }

const delimited =
  (field: number, write: (writer: Writer) => void): Field =>
  (writer) => {
    const behind = writer.written
    write(writer)
    writer.varint(writer.written - behind)
    writer.varint(field * 8 + BYTES)
  }

export const bytes = (field: number, value: Bytes): Field =>
  delimited(field, (writer) => (typeof value === "string" ? writer.utf8(value) : writer.raw(value)))

const nested = (field: number, fields: readonly Field[]): Field =>
  delimited(field, (writer) => writeAll(fields, writer))

const flag = (field: number, value: boolean | undefined): Field[] =>
  value === true ? [int(field, 1)] : []

const given = (field: number, value: number | undefined): Field[] =>
  value === undefined || value === 0 ? [] : [int(field, value)]

const span = ({ key, end }: KeySpan): Field[] => [
  bytes(1, key),
  ...(end === undefined ? [] : [bytes(2, end)]),
]

const rangeFields = ({
  limit,
  revision,
  isSerializable,
  countOnly,
  ...range
}: RangeAsked): Field[] => [
  ...span(range),
  ...given(3, limit),
  ...given(4, revision),
  ...flag(7, isSerializable),
  ...flag(9, countOnly),
]

export const encodeRange = (asked: RangeAsked): Buffer => encode(rangeFields(asked))

const putFields = ({ key, value, lease, keepsLease }: Put): Field[] => [
  bytes(1, key),
  bytes(2, value),
  ...given(3, lease),
  ...flag(6, keepsLease),
]

export const encodePut = (put: Put): Buffer => encode(putFields(put))

const CREATE = 1
const MOD = 2
const VALUE = 3

function compareFields(compare: Compare): Field[] {
  const key = bytes(3, compare.key)
  if ("created" in compare) return [int(2, CREATE), key, int(5, compare.created)]
  if ("modified" in compare) return [int(2, MOD), key, int(6, compare.modified)]
  return [int(2, VALUE), key, bytes(7, compare.value)]
}

function operationField(operation: Operation): Field {
  if ("range" in operation) return nested(1, rangeFields(operation.range))
  if ("put" in operation) return nested(2, putFields(operation.put))
  return nested(3, [bytes(1, operation.remove.key)])
}

export const encodeTxn = ({ compare, success, failure }: Txn): Buffer =>
  encode([
    ...compare.map((one) => nested(1, compareFields(one))),
    ...success.map((one) => nested(2, [operationField(one)])),
    ...failure.map((one) => nested(3, [operationField(one)])),
  ])

export const encodeCompaction = (revision: number, { isPhysical = false } = {}): Buffer =>
  encode([int(1, revision), ...flag(2, isPhysical)])

export const encodeLeaseGrant = ({ id, ttlSeconds }: { id: number; ttlSeconds: number }): Buffer =>
  encode([int(1, ttlSeconds), int(2, id)])

/** From `after` on, in fragments, and with a sign of life where nothing happens. */
export const encodeWatch = (range: KeySpan, after: number): Buffer =>
  encode([nested(1, [...span(range), int(3, after + 1), int(4, 1), int(8, 1)])])

// Reading

/** Takes the fields that have a reader in `fields`, and skips the others. */
export function decode(
  message: Buffer,
  where: string,
  fields: Readonly<Record<number, (reader: Reader) => void>>,
): void {
  const reader = new Reader(message)
  while (reader.position < message.length) {
    const take = fields[reader.tag(message.length, where)]
    if (take === undefined) reader.skip(message.length, where)
    else take(reader)
  }
}

export const readInt = (reader: Reader): number => reader.varint(reader.bytes.length, "etcd")

export function readBytes(reader: Reader): Buffer {
  const end = reader.lengthEnd(reader.bytes.length, "etcd")
  const body = reader.bytes.subarray(reader.position, end)
  reader.position = end
  return body
}

/** The revision that a header says. */
function readHeader(reader: Reader): number {
  let revision = 0
  decode(readBytes(reader), "ResponseHeader", { 3: (field) => (revision = readInt(field)) })
  return revision
}

const NO_BYTES: Buffer = Buffer.alloc(0)

function decodeKeyValue(message: Buffer): KeyValue {
  const entry = { key: "", created: 0, modified: 0, value: NO_BYTES, isLeased: false }
  decode(message, "KeyValue", {
    1: (field) => (entry.key = readBytes(field).toString()),
    2: (field) => (entry.created = readInt(field)),
    3: (field) => (entry.modified = readInt(field)),
    5: (field) => (entry.value = readBytes(field)),
    // Its number is more than one of ours holds; 0 is not sent.
    6: (field) => {
      field.skip(message.length, "KeyValue")
      entry.isLeased = true
    },
  })
  return entry
}

export function decodeRanged(message: Buffer): Ranged {
  const ranged = { revision: 0, entries: [] as KeyValue[], count: 0 }
  decode(message, "RangeResponse", {
    1: (field) => (ranged.revision = readHeader(field)),
    2: (field) => ranged.entries.push(decodeKeyValue(readBytes(field))),
    4: (field) => (ranged.count = readInt(field)),
  })
  return ranged
}

export function decodeTxn(message: Buffer): TxnAnswer {
  const answer = { revision: 0, succeeded: false, ranges: [] as KeyValue[][] }
  decode(message, "TxnResponse", {
    1: (field) => (answer.revision = readHeader(field)),
    2: (field) => (answer.succeeded = readInt(field) === 1),
    3: (field) =>
      decode(readBytes(field), "ResponseOp", {
        1: (range) => answer.ranges.push(decodeRanged(readBytes(range)).entries),
      }),
  })
  return answer
}

/** Of an answer of which nothing else is asked. */
export function decodeRevision(message: Buffer): number {
  let revision = 0
  decode(message, "response", { 1: (field) => (revision = readHeader(field)) })
  return revision
}

/** A piece of a snapshot; the last two say that nothing remains: the end of the database, and the digest of it all. */
export function decodePiece(message: Buffer): { remainingBytes: number; bytes: Buffer } {
  const piece = { remainingBytes: 0, bytes: Buffer.alloc(0) as Buffer }
  decode(message, "SnapshotResponse", {
    2: (field) => (piece.remainingBytes = readInt(field)),
    3: (field) => (piece.bytes = readBytes(field)),
  })
  return piece
}

export function decodeVersion(message: Buffer): string {
  let version = ""
  decode(message, "StatusResponse", { 2: (field) => (version = readBytes(field).toString()) })
  return version
}

function decodeEvent(message: Buffer): WatchEvent {
  let deleted = false
  let entry: KeyValue | undefined
  decode(message, "Event", {
    1: (field) => (deleted = readInt(field) === 1),
    2: (field) => (entry = decodeKeyValue(readBytes(field))),
  })
  return { deleted, entry: entry ?? decodeKeyValue(Buffer.alloc(0)) }
}

export function decodeWatch(message: Buffer): WatchAnswer {
  const answer = {
    revision: 0,
    created: false,
    canceled: false,
    compacted: 0,
    reason: "",
    fragment: false,
    events: [] as WatchEvent[],
  }
  decode(message, "WatchResponse", {
    1: (field) => (answer.revision = readHeader(field)),
    3: (field) => (answer.created = readInt(field) === 1),
    4: (field) => (answer.canceled = readInt(field) === 1),
    5: (field) => (answer.compacted = readInt(field)),
    6: (field) => (answer.reason = readBytes(field).toString()),
    7: (field) => (answer.fragment = readInt(field) === 1),
    11: (field) => answer.events.push(decodeEvent(readBytes(field))),
  })
  return answer
}
