/** etcd's messages (api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto of etcd 3.4), as far as they are used here. What
 *  is not used is skipped. */
import { BYTES, Reader, VARINT } from "../format/wire.ts"

type Bytes = Uint8Array | string

/** `range`: every key from `key` up to, not including, `end`; without `end` the one key. */
export interface KeySpan {
  readonly key: Bytes
  readonly end?: Bytes | undefined
}

export interface RangeAsked extends KeySpan {
  readonly limit?: number
  readonly revision?: number
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

// Writing: a message is the bytes of its fields, one after the other.

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  bytes.push(rest)
  return bytes
}

export const int = (field: number, value: number): Buffer =>
  Buffer.from([...varint((field << 3) | VARINT), ...varint(value)])

const flag = (field: number, value: boolean | undefined): Buffer[] =>
  value === true ? [int(field, 1)] : []

const given = (field: number, value: number | undefined): Buffer[] =>
  value === undefined || value === 0 ? [] : [int(field, value)]

export function bytes(field: number, value: Bytes): Buffer {
  const body = typeof value === "string" ? Buffer.from(value) : value
  return Buffer.concat([
    Buffer.from([...varint((field << 3) | BYTES), ...varint(body.length)]),
    body,
  ])
}

const span = ({ key, end }: KeySpan): Buffer[] => [
  bytes(1, key),
  ...(end === undefined ? [] : [bytes(2, end)]),
]

export const encodeRange = ({
  limit,
  revision,
  isSerializable,
  countOnly,
  ...range
}: RangeAsked): Buffer =>
  Buffer.concat([
    ...span(range),
    ...given(3, limit),
    ...given(4, revision),
    ...flag(7, isSerializable),
    ...flag(9, countOnly),
  ])

export const encodePut = ({ key, value, lease, keepsLease }: Put): Buffer =>
  Buffer.concat([bytes(1, key), bytes(2, value), ...given(3, lease), ...flag(6, keepsLease)])

const CREATE = 1
const MOD = 2
const VALUE = 3

function encodeCompare(compare: Compare): Buffer {
  const key = bytes(3, compare.key)
  if ("created" in compare) return Buffer.concat([int(2, CREATE), key, int(5, compare.created)])
  if ("modified" in compare) return Buffer.concat([int(2, MOD), key, int(6, compare.modified)])
  return Buffer.concat([int(2, VALUE), key, bytes(7, compare.value)])
}

function encodeOperation(operation: Operation): Buffer {
  if ("range" in operation) return bytes(1, encodeRange(operation.range))
  if ("put" in operation) return bytes(2, encodePut(operation.put))
  return bytes(3, bytes(1, operation.remove.key))
}

export const encodeTxn = ({ compare, success, failure }: Txn): Buffer =>
  Buffer.concat([
    ...compare.map((one) => bytes(1, encodeCompare(one))),
    ...success.map((one) => bytes(2, encodeOperation(one))),
    ...failure.map((one) => bytes(3, encodeOperation(one))),
  ])

export const encodeCompaction = (revision: number, { isPhysical = false } = {}): Buffer =>
  Buffer.concat([int(1, revision), ...flag(2, isPhysical)])

export const encodeLeaseGrant = ({ id, ttlSeconds }: { id: number; ttlSeconds: number }): Buffer =>
  Buffer.concat([int(1, ttlSeconds), int(2, id)])

/** From `after` on, in fragments, and with a sign of life where nothing happens. */
export const encodeWatch = (range: KeySpan, after: number): Buffer =>
  bytes(1, Buffer.concat([...span(range), int(3, after + 1), int(4, 1), int(8, 1)]))

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
