/** The types that fields of Kubernetes' messages hold, beside messages: how each looks in bytes and in JSON. */

import { KnownError } from "../errors.ts"
import { type FieldType, invalid, message } from "./schema.ts"
import { BYTES, corrupt, VARINT } from "./wire.ts"

export const string: FieldType = {
  name: "string",
  wireType: BYTES,
  zero: () => "",
  decode: (reader, end) => reader.utf8(end),
  encode(writer, value, where) {
    if (typeof value !== "string") throw invalid(where, "string", value)
    writer.utf8(value)
  },
}

export const bool: FieldType = {
  name: "bool",
  wireType: VARINT,
  zero: () => false,
  decode: (reader, end, where) => reader.varint(end, where) !== 0,
  encode(writer, value, where) {
    if (typeof value !== "boolean") throw invalid(where, "boolean", value)
    writer.varint(value ? 1 : 0)
  },
}

/** Beyond 2^53 it is refused, as JSON's readers in JavaScript would change it. */
export const int64: FieldType = {
  name: "int64",
  wireType: VARINT,
  zero: () => 0,
  decode: (reader, end, where) => reader.varint(end, where),
  encode(writer, value, where) {
    if (typeof value !== "number" || !Number.isSafeInteger(value))
      throw invalid(where, "integer", value)
    writer.varint(value)
  },
}

export const int32: FieldType = {
  ...int64,
  name: "int32",
  decode: (reader, end, where) => reader.varint(end, where) | 0,
  encode(writer, value, where) {
    if (typeof value !== "number" || (value | 0) !== value) throw invalid(where, "int32", value)
    writer.varint(value)
  },
}

/** Standard base64 in JSON. */
export const bytes: FieldType = {
  name: "bytes",
  wireType: BYTES,
  zero: () => undefined,
  decode(reader, end) {
    const text = reader.bytes.toString("base64", reader.position, end)
    reader.position = end
    return text
  },
  encode(writer, value, where) {
    if (typeof value !== "string") throw invalid(where, "base64 string", value)
    const length = base64Bytes(value)
    const at = writer.room(length)
    const written = writer.bytes.write(value, at, length, "base64")
    if (written !== length || value.length % 4 !== 0)
      throw new KnownError("ObjectInvalid", `${where}: illegal base64 data`)
  },
}

/** How many bytes padded base64 stands for. */
function base64Bytes(text: string): number {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0
  return Math.floor((text.length * 3) / 4) - padding
}

const Timestamp = message("Timestamp", [
  [1, "seconds", int64, "always"],
  [2, "nanos", int32, "always"],
])

/** Year 0 and year 10000: RFC 3339 has four digits. */
const SECONDS_MIN = -62_167_219_200
const SECONDS_END = 253_402_300_800
const RFC_3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

/** metav1.Time to the second, metav1.MicroTime to the microsecond; null and an empty message are the zero time. */
const timestamp = (name: string, digits: 0 | 6): FieldType => ({
  name,
  wireType: BYTES,
  zero: () => null,
  decode(reader, end, where) {
    if (reader.position === end) return null
    const at = reader.position
    const { seconds, nanos } = Timestamp.decode(reader, end, where) as Instant
    if (seconds < SECONDS_MIN || seconds >= SECONDS_END)
      throw corrupt(`${where}: a time outside the years 0 to 9999`, at)
    const whole = new Date(seconds * 1000).toISOString().slice(0, 19)
    return digits === 0 ? `${whole}Z` : `${whole}.${micros(nanos)}Z`
  },
  encode(writer, value, where) {
    if (value === null) return
    if (typeof value !== "string") throw invalid(where, "time", value)
    const [, fraction = ""] = RFC_3339.exec(value) ?? []
    const ms = Date.parse(fraction === "" ? value : value.replace(fraction, ""))
    if (!RFC_3339.test(value) || Number.isNaN(ms))
      throw new KnownError("ObjectInvalid", `${where}: not a time in RFC 3339`)
    const nanos = digits === 0 ? 0 : Number(fraction.slice(1, 7).padEnd(6, "0")) * 1000
    Timestamp.encode(writer, { seconds: ms / 1000, nanos }, where)
  },
})

interface Instant {
  seconds: number
  nanos: number
}

const micros = (nanos: number): string => String(Math.floor(nanos / 1000)).padStart(6, "0")

export const time = timestamp("Time", 0)
export const microTime = timestamp("MicroTime", 6)

/** A message of one field that JSON shows as that field's value alone. */
function bare(name: string, type: FieldType): FieldType {
  const inner = message(name, [[1, "value", type, "always"]])
  return {
    name,
    wireType: BYTES,
    zero: type.zero,
    decode: (reader, end, where) => {
      const { value } = inner.decode(reader, end, where) as { value: unknown }
      return value
    },
    encode: (writer, value, where) => inner.encode(writer, { value }, where),
  }
}

/** resource.Quantity, as the string that it is. */
export const quantity = bare("Quantity", string)

const json: FieldType = {
  name: "JSON",
  wireType: BYTES,
  zero: () => undefined,
  decode(reader, end, where) {
    const at = reader.position
    try {
      return JSON.parse(reader.utf8(end))
    } catch (cause) {
      throw corrupt(`${where}: not JSON`, at)
    }
  },
  encode: (writer, value) => writer.utf8(JSON.stringify(value)),
}

/** metav1.FieldsV1: JSON within protobuf. */
export const fieldsV1 = bare("FieldsV1", json)
