/** Protobuf's wire format and nothing above it: a reader that never leaves its bounds, and a writer that fills its
 *  buffer from the end to the start, so that the length of a nested message is known when its header is due. */

import { KnownError } from "../errors.ts"

export const VARINT = 0
const FIXED64 = 1
export const BYTES = 2
const FIXED32 = 5

const TWO_32 = 0x1_0000_0000

/** What a value is damaged by, and where; `message` names types and fields, never content. */
export const corrupt = (message: string, at: number): KnownError =>
  new KnownError("ValueCorrupt", `protobuf: ${message} at byte ${at}`)

/** The same memory as a Buffer. */
export const bufferOf = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export class Reader {
  readonly bytes: Buffer
  position = 0
  /** Of the field whose tag was read last. */
  wireType = VARINT

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  /** Reads a tag: returns the field's number and keeps its wire type. */
  tag(end: number, where: string): number {
    const at = this.position
    const tag = this.varint(end, where)
    if (tag < 8 || tag > 0xffff_ffff) throw corrupt(`${where}: ${tag} is no field's tag,`, at)
    this.wireType = tag & 7
    return tag >>> 3
  }

  /** A signed 64-bit varint. Values that a double cannot hold exactly are refused. */
  varint(end: number, where: string): number {
    const first = this.bytes[this.position]
    if (first !== undefined && first < 0x80 && this.position < end) {
      this.position++
      return first
    }
    return this.#longVarint(end, where)
  }

  #longVarint(end: number, where: string): number {
    const start = this.position
    let low = 0
    let high = 0
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.position < end ? this.bytes[this.position++] : undefined
      if (byte === undefined) throw corrupt(`${where}: the number is cut off`, start)
      const bits = byte & 0x7f
      if (shift < 28) low |= bits << shift
      else if (shift === 28) {
        low |= bits << 28
        high = bits >>> 4
      } else high |= bits << (shift - 32)
      if (byte < 0x80) return this.#whole(low, high, where, start)
    }
    throw corrupt(`${where}: the number has more than 10 bytes`, start)
  }

  #whole(low: number, high: number, where: string, at: number): number {
    const value = (high | 0) * TWO_32 + (low >>> 0)
    if (!Number.isSafeInteger(value)) throw corrupt(`${where}: the number is beyond 2^53`, at)
    return value
  }

  /** Reads a length and returns where the bytes it announces end. */
  lengthEnd(end: number, where: string): number {
    const at = this.position
    const length = this.varint(end, where)
    const left = end - this.position
    if (length < 0 || length > left)
      throw corrupt(`${where}: says it has ${length} bytes, but ${left} are left,`, at)
    return this.position + length
  }

  utf8(end: number): string {
    const text = this.bytes.toString("utf8", this.position, end)
    this.position = end
    return text
  }

  /** Moves past the value of the field whose tag was just read. */
  skip(end: number, where: string): void {
    const { wireType, position: at } = this
    if (wireType === VARINT) this.#skipVarint(end, where)
    else if (wireType === BYTES) this.position = this.lengthEnd(end, where)
    else if (wireType === FIXED64) this.position += 8
    else if (wireType === FIXED32) this.position += 4
    else throw corrupt(`${where}: wire type ${wireType} is not one that Kubernetes writes,`, at)
    if (this.position > end) throw corrupt(`${where}: the value is cut off`, at)
  }

  #skipVarint(end: number, where: string): void {
    const start = this.position
    while (this.position < end && this.position - start < 10)
      if ((this.bytes[this.position++] ?? 0) < 0x80) return
    throw corrupt(`${where}: the number is cut off or longer than 10 bytes`, start)
  }
}

const SCRATCH_BYTES = 64 * 1024
const SCRATCH_BYTES_KEPT = 1024 * 1024

/** Writes backwards. One instance is reused for all messages, as encoding never waits. */
export class Writer {
  bytes = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  position = SCRATCH_BYTES

  /** Begins a new message and forgets what was written before. */
  start(): void {
    if (this.bytes.length > SCRATCH_BYTES_KEPT) this.bytes = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
    this.position = this.bytes.length
  }

  /** How many bytes are written since {@link start}. */
  get written(): number {
    return this.bytes.length - this.position
  }

  /** A copy of all that was written since {@link start}. */
  finish(): Buffer {
    return Buffer.from(this.bytes.subarray(this.position))
  }

  /** Makes room for `length` bytes in front of what is written and returns where they begin. */
  room(length: number): number {
    if (this.position < length) this.#grow(length)
    this.position -= length
    return this.position
  }

  #grow(length: number): void {
    const { written } = this
    const larger = Buffer.allocUnsafeSlow(2 * (this.bytes.length + length))
    this.bytes.copy(larger, larger.length - written, this.position)
    this.position = larger.length - written
    this.bytes = larger
  }

  varint(value: number): void {
    if (value >= 0 && value < 0x80) {
      const at = this.room(1)
      this.bytes[at] = value
      return
    }
    let low = value >>> 0
    let high = Math.floor(value / TWO_32) >>> 0
    let at = this.room(varintBytes(value))
    while (high !== 0 || low >= 0x80) {
      this.bytes[at++] = (low & 0x7f) | 0x80
      low = ((low >>> 7) | (high << 25)) >>> 0
      high >>>= 7
    }
    this.bytes[at] = low
  }

  raw(bytes: Uint8Array): void {
    const at = this.room(bytes.length)
    this.bytes.set(bytes, at)
  }

  utf8(text: string): void {
    const length = Buffer.byteLength(text)
    const at = this.room(length)
    this.bytes.write(text, at, length)
  }
}

function varintBytes(value: number): number {
  if (value < 0) return 10
  let bytes = 1
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++
  return bytes
}
