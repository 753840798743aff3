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
    const strange = value.length % 4 !== 0 || value.includes("-") || value.includes("_")
    if (written !== length || strange)
      throw new KnownError("ObjectInvalid", `${where}: illegal base64 data`)
  },
}

/** How many bytes padded base64 stands for. Node's decoder refuses nothing: it passes over other characters and takes
 *  the URL's alphabet too. So text that it makes fewer bytes of is not base64. */
function base64Bytes(text: string): number {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0
  return Math.max(0, Math.floor((text.length * 3) / 4) - padding)
}

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
      return JSON.parse(reader.utf8(end)) as unknown
    } catch {
      throw corrupt(`${where}: not JSON`, at)
    }
  },
  encode: (writer, value) => writer.utf8(JSON.stringify(value)),
}

/** metav1.FieldsV1: JSON within protobuf. */
export const fieldsV1 = bare("FieldsV1", json)
