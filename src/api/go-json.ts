/** Reads JSON as Go's encoding/json does: its words for what is wrong, and what JSON.parse hides, the names that an object
 *  has more than once. The last of equal names counts. */

import { setOwn } from "../format/schema.ts"
import { goQuote } from "./go-text.ts"

/** `message` is Go's. */
export class GoJsonError extends Error {}

export interface ParsedJson {
  readonly value: unknown
  /** By object, its names that came more than once. */
  readonly duplicates: ReadonlyMap<object, ReadonlySet<string>>
}

/** Go's limit is 10,000, for which this stack is too small; no object is nearly as deep. */
const DEPTH_MAX = 1000

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y
const SPACE = /[ \t\r\n]*/y
const PLAIN = /[^"\\\u0000-\u001f]*/y
const LITERALS = {
  t: { word: "true", value: true },
  f: { word: "false", value: false },
  n: { word: "null", value: null },
} as const

const ended = () => new GoJsonError("unexpected end of JSON input")

/** %q of one byte, as Go prints a character that does not fit. */
function quoteChar(char: string): string {
  if (char === "'") return "'\\''"
  if (char === '"') return "'\"'"
  const byte = Buffer.from(char).subarray(0, 1).toString("latin1")
  return `'${goQuote(byte).slice(1, -1)}'`
}

/** Throws {@link GoJsonError}. */
export function parseGoJson(text: string): ParsedJson {
  const duplicates = new Map<object, Set<string>>()
  let at = 0

  const result = readValue("looking for beginning of value", 0)
  skipSpace()
  if (at < text.length) throw unexpected("after top-level value")
  return { value: result, duplicates }

  function unexpected(where: string): GoJsonError {
    const char = text.slice(at, at + 1)
    if (char === "") return ended()
    const whole = String.fromCodePoint(text.codePointAt(at) ?? 0)
    return new GoJsonError(`invalid character ${quoteChar(whole)} ${where}`)
  }

  function skipSpace(): void {
    SPACE.lastIndex = at
    SPACE.test(text)
    at = SPACE.lastIndex
  }

  function readValue(where: string, depth: number): unknown {
    skipSpace()
    const char = text[at]
    if (depth > DEPTH_MAX) throw new GoJsonError("exceeded max depth")
    if (char === "{") return readObject(depth + 1)
    if (char === "[") return readArray(depth + 1)
    if (char === '"') return readString()
    if (char === "t" || char === "f" || char === "n") return readLiteral(LITERALS[char])
    if (char !== undefined && /[-0-9]/.test(char)) return readNumber()
    throw unexpected(where)
  }

  function readObject(depth: number): Record<string, unknown> {
    const object: Record<string, unknown> = {}
    at++
    skipSpace()
    if (text[at] === "}") {
      at++
      return object
    }
    for (;;) {
      skipSpace()
      if (text[at] !== '"') throw unexpected("looking for beginning of object key string")
      const name = readString()
      if (Object.hasOwn(object, name)) noteDuplicate(object, name)
      skipSpace()
      if (text[at] !== ":") throw unexpected("after object key")
      at++
      setOwn(object, name, readValue("looking for beginning of value", depth))
      if (endsAt("}", "after object key:value pair")) return object
    }
  }

  function readArray(depth: number): unknown[] {
    const array: unknown[] = []
    at++
    skipSpace()
    if (text[at] === "]") {
      at++
      return array
    }
    for (;;) {
      array.push(readValue("looking for beginning of value", depth))
      if (endsAt("]", "after array element")) return array
    }
  }

  /** Moves past a comma or `close`; whether it was `close`. */
  function endsAt(close: string, where: string): boolean {
    skipSpace()
    const char = text[at]
    if (char !== "," && char !== close) throw unexpected(where)
    at++
    return char === close
  }

  function noteDuplicate(object: object, name: string): void {
    const names = duplicates.get(object) ?? new Set()
    duplicates.set(object, names.add(name))
  }

  function readString(): string {
    const start = at++
    let escaped = false
    for (;;) {
      PLAIN.lastIndex = at
      PLAIN.test(text)
      at = PLAIN.lastIndex
      if (text[at] === '"') break
      if (text[at] !== "\\") throw unexpected("in string literal")
      escaped = true
      readEscape()
    }
    at++
    if (!escaped) return text.slice(start + 1, at - 1)
    return (JSON.parse(text.slice(start, at)) as string).toWellFormed()
  }

  function readEscape(): void {
    at++
    const char = text[at] ?? ""
    if (!'"\\/bfnrtu'.includes(char) || char === "") throw unexpected("in string escape code")
    at++
    for (let digit = 0; char === "u" && digit < 4; digit++, at++)
      if (!/[0-9a-fA-F]/.test(text[at] ?? ""))
        throw unexpected("in \\u hexadecimal character escape")
  }

  function readLiteral({ word, value }: (typeof LITERALS)[keyof typeof LITERALS]) {
    for (const letter of word) {
      if (text[at] !== letter)
        throw unexpected(`in literal ${word} (expecting ${quoteChar(letter)})`)
      at++
    }
    return value
  }

  function readNumber(): number {
    NUMBER.lastIndex = at
    const [number = ""] = NUMBER.exec(text) ?? []
    at += number.length
    if (number === "") {
      at++
      throw unexpected("in numeric literal")
    }
    const next = text[at] ?? ""
    if (next === "." && !/[.eE]/.test(number)) {
      at++
      throw unexpected("after decimal point in numeric literal")
    }
    if (/[eE]/.test(next) && !/[eE]/.test(number)) {
      at += /[-+]/.test(text[at + 1] ?? "") ? 2 : 1
      throw unexpected("in exponent of numeric literal")
    }
    return Number(number)
  }
}

/** What Go calls the type of a JSON value. */
export function goJsonType(value: unknown): string {
  if (value === null) return "null"
  if (Array.isArray(value)) return "array"
  if (typeof value === "boolean") return "bool"
  return typeof value
}
