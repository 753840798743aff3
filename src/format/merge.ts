/** Encodes an object over its older bytes, so that what the tables do not know is not lost: a newer Kubernetes or K3s
 *  may have written fields that stand in no table of ours. The rule, field by field: a value that did not change keeps
 *  its bytes as they are; a changed message is merged in turn; fields without a row stay. Elements of a list count as
 *  values of their own, so an element that is changed is written anew. */

import {
  decodeField,
  encodeField,
  type Field,
  isMessage,
  isRecord,
  type Message,
} from "./schema.ts"
import { BYTES, Reader, Writer } from "./wire.ts"

export function mergeMessage(message: Message, value: unknown, old: Buffer): Buffer {
  const kept = occurrences(message.name, old)
  const numbers = new Set([...message.byNumber.keys(), ...kept.keys()])
  const parts = [...numbers]
    .toSorted((a, b) => a - b)
    .flatMap((number) => {
      const field = message.byNumber.get(number)
      const before = kept.get(number) ?? []
      return field
        ? mergeField(field, isRecord(value) ? value[field.name] : undefined, before)
        : before
    })
  return Buffer.concat(parts)
}

function mergeField(field: Field, value: unknown, old: Buffer[]): Buffer[] {
  const fresh = encoded(field, value)
  if (fresh.equals(canonical(field, old))) return old
  const last = old.at(-1)
  if (!isMessage(field.type) || field.shape === "map" || fresh.length === 0 || last === undefined)
    return [fresh]
  if (field.shape === "single")
    return [withHeader(field, mergeMessage(field.type, value, payload(field, last)))]
  const before = new Map(
    old.map((element) => [canonical(field, [element]).toString("latin1"), element]),
  )
  const elements: unknown[] = Array.isArray(value) ? value : []
  return elements.map((element) => {
    const bytes = encoded(field, [element])
    return before.get(bytes.toString("latin1")) ?? bytes
  })
}

/** Every field's occurrences, tags included. */
function occurrences(name: string, bytes: Buffer): Map<number, Buffer[]> {
  const found = new Map<number, Buffer[]>()
  const reader = new Reader(bytes)
  while (reader.position < bytes.length) {
    const start = reader.position
    const number = reader.tag(bytes.length, name)
    reader.skip(bytes.length, `${name}, field ${number}`)
    const occurrence = bytes.subarray(start, reader.position)
    const before = found.get(number)
    if (before) before.push(occurrence)
    else found.set(number, [occurrence])
  }
  return found
}

/** What we would write for the value that these bytes hold. */
function canonical(field: Field, old: Buffer[]): Buffer {
  let value: unknown
  for (const occurrence of old) {
    const reader = new Reader(occurrence)
    reader.tag(occurrence.length, field.where)
    value = decodeField(field, value, reader, occurrence.length)
  }
  return encoded(field, value)
}

function payload(field: Field, occurrence: Buffer): Buffer {
  const reader = new Reader(occurrence)
  reader.tag(occurrence.length, field.where)
  reader.lengthEnd(occurrence.length, field.where)
  return occurrence.subarray(reader.position)
}

const writer = new Writer()

function encoded(field: Field, value: unknown): Buffer {
  writer.start()
  encodeField(field, value, writer)
  return writer.finish()
}

function withHeader(field: Field, body: Buffer): Buffer {
  writer.start()
  writer.raw(body)
  writer.varint(body.length)
  writer.varint(field.number * 8 + BYTES)
  return writer.finish()
}
