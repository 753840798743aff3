/** Kubernetes' protobuf messages as tables: what a table says, and the one encoder and decoder that obey it.
 *
 *  Bytes are those of Go's generated code (gogo, proto2): fields by ascending number, map entries by key, value fields
 *  written even where they are empty. Objects are those of Go's JSON, keys in the order of the table's rows.
 *  Numbers and rules are bytes on disk: never change one. */

import { KnownError } from "../errors.ts"
import { BYTES, corrupt, Reader, type VARINT, type Writer } from "./wire.ts"

/** `always`: written, and shown in JSON, even where empty (a Go value). `wire`: written even where empty, shown only
 *  where not (a Go value with omitempty). `set`: written and shown only where it is there (a Go pointer). */
export type Rule = "always" | "wire" | "set"

/** What a field holds. */
export interface FieldType {
  readonly name: string
  readonly wireType: typeof VARINT | typeof BYTES
  /** What an absent value field means; undefined where not even a value field is written then (Go's nil slice). */
  zero(): unknown
  /** Begins at the reader's position; of wire type BYTES, the value ends at `end` and nowhere else. */
  decode(reader: Reader, end: number, where: string): unknown
  /** Writes the value without tag and length. Throws ObjectInvalid where it is not of this type. */
  encode(writer: Writer, value: unknown, where: string): void
}

export interface Repeated {
  readonly of: FieldType
  readonly shape: "list" | "map"
}

export const list = (of: FieldType): Repeated => ({ of, shape: "list" })
/** From strings to a type of wire type BYTES. */
export const map = (of: FieldType): Repeated => ({ of, shape: "map" })

export type FieldRow = readonly [number, name: string, FieldType | Repeated, Rule]

export interface Field {
  readonly number: number
  readonly name: string
  readonly type: FieldType
  readonly shape: "single" | Repeated["shape"]
  readonly rule: Rule
  /** `Secret.data`, for messages to people. */
  readonly where: string
}

export interface Message extends FieldType {
  /** In the order of JSON's keys. */
  readonly fields: readonly Field[]
  readonly byNumber: ReadonlyMap<number, Field>
  /** As `decode`, with the fields added to an object that is there. */
  decodeInto(target: Record<string, unknown>, reader: Reader, end: number): void
}

/** The value is not of the type that its field has. */
export function invalid(where: string, expected: string, value: unknown): KnownError {
  const seen = value === null ? "null" : Array.isArray(value) ? "array" : typeof value
  return new KnownError("ObjectInvalid", `${where}: expected ${expected}, got ${seen}`)
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/** Sets an own property, also for the key `__proto__`, which is a valid key of a Secret. */
export function setOwn(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key !== "__proto__") {
    target[key] = value
    return
  }
  const open = { configurable: true, enumerable: true, writable: true }
  Object.defineProperty(target, key, { value, ...open })
}

export const isMessage = (type: FieldType): type is Message => "decodeInto" in type

export function message(name: string, rows: readonly FieldRow[]): Message {
  const fields = rows.map((row) => fieldOf(name, row))
  const lastFirst = fields.toSorted((a, b) => b.number - a.number)
  const absent: unknown[] = fields.map(() => undefined)
  const slots: number[] = []
  for (const [slot, { number }] of fields.entries()) slots[number] = slot

  function decodeInto(target: Record<string, unknown>, reader: Reader, end: number): void {
    const values = absent.slice()
    while (reader.position < end) {
      const number = reader.tag(end, name)
      const slot = slots[number] ?? -1
      const field = fields[slot]
      if (field === undefined) reader.skip(end, `${name}, field ${number}`)
      else values[slot] = decodeField(field, values[slot], reader, end)
    }
    let slot = 0
    for (const field of fields) show(field, values[slot++], target)
  }

  function decode(reader: Reader, end: number): Record<string, unknown> {
    const target: Record<string, unknown> = {}
    decodeInto(target, reader, end)
    return target
  }

  return {
    name,
    wireType: BYTES,
    fields,
    byNumber: new Map(fields.map((field) => [field.number, field])),
    zero: () => ({}),
    decodeInto,
    decode,
    encode(writer, value, where) {
      if (!isRecord(value)) throw invalid(where, "object", value)
      for (const field of lastFirst) encodeField(field, value[field.name], writer)
    },
  }
}

function fieldOf(owner: string, [number, name, held, rule]: FieldRow): Field {
  const { of: type, shape } = "of" in held ? held : ({ of: held, shape: "single" } as const)
  return { number, name, type, shape, rule, where: `${owner}.${name}` }
}

/** Reads one occurrence of a field; `before` is what earlier occurrences left. */
export function decodeField(field: Field, before: unknown, reader: Reader, end: number): unknown {
  const { type, shape, where } = field
  const wireType = shape === "map" ? BYTES : type.wireType
  if (reader.wireType !== wireType)
    throw corrupt(`${where}: wire type ${reader.wireType} does not fit`, reader.position)
  if (wireType !== BYTES) return type.decode(reader, end, where)
  const valueEnd = reader.lengthEnd(end, where)
  if (shape === "map") return decodeEntry(field, before, reader, valueEnd)
  const value = type.decode(reader, valueEnd, where)
  if (shape === "single") return value
  if (!Array.isArray(before)) return [value]
  before.push(value)
  return before
}

function decodeEntry(field: Field, before: unknown, reader: Reader, end: number): unknown {
  const { type, where } = field
  const entries = isRecord(before) ? before : {}
  let key = ""
  let value: unknown
  while (reader.position < end) {
    const number = reader.tag(end, where)
    if (reader.wireType !== BYTES || number > 2) {
      reader.skip(end, where)
      continue
    }
    const partEnd = reader.lengthEnd(end, where)
    if (number === 2) value = type.decode(reader, partEnd, where)
    else key = reader.utf8(partEnd)
  }
  setOwn(entries, key, value ?? type.decode(reader, end, where))
  return entries
}

/** Puts what was read into the object, by the field's rule. */
function show(field: Field, value: unknown, target: Record<string, unknown>): void {
  const { name, rule, shape, type } = field
  if (value === undefined) {
    if (rule === "always") target[name] = shape === "list" ? [] : emptyOf(type)
  } else if (rule !== "wire" || !(value === "" || value === 0 || value === false || value === null))
    target[name] = value
}

const emptyOf = (type: FieldType): unknown =>
  isMessage(type) ? type.decode(new Reader(Buffer.alloc(0)), 0, type.name) : type.zero()

export function encodeField(field: Field, value: unknown, writer: Writer): void {
  const { shape, type, rule, where } = field
  if (shape === "single") {
    const written = value ?? (rule === "set" ? undefined : type.zero())
    if (written !== undefined) encodeValue(field.number, type, written, writer, where)
  } else if (value === undefined || value === null) return
  else if (shape === "map") encodeMap(field, value, writer)
  else {
    if (!Array.isArray(value)) throw invalid(where, "array", value)
    for (let i = value.length - 1; i >= 0; i--)
      encodeValue(field.number, type, value[i], writer, where)
  }
}

function encodeValue(
  number: number,
  type: FieldType,
  value: unknown,
  writer: Writer,
  where: string,
): void {
  const before = writer.written
  type.encode(writer, value, where)
  if (type.wireType === BYTES) writer.varint(writer.written - before)
  writer.varint(number * 8 + type.wireType)
}

function encodeMap(field: Field, value: unknown, writer: Writer): void {
  const { type, where } = field
  if (!isRecord(value)) throw invalid(where, "object", value)
  for (const key of sortedKeys(value).toReversed()) {
    const before = writer.written
    const entry = value[key] ?? type.zero()
    if (entry !== undefined) encodeValue(2, type, entry, writer, where)
    const beforeKey = writer.written
    writer.utf8(key)
    writer.varint(writer.written - beforeKey)
    writer.varint(8 + BYTES)
    writer.varint(writer.written - before)
    writer.varint(field.number * 8 + BYTES)
  }
}

/** In the order of their UTF-8 bytes, which is Go's; UTF-16's differs above U+D800. */
export function sortedKeys(record: object): string[] {
  const keys = Object.keys(record)
  if (keys.every((key) => !/[\ud800-\uffff]/.test(key))) return keys.toSorted()
  return keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}
