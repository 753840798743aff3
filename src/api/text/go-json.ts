/** Reads JSON as Go's encoding/json does: its words for what is wrong, and what JSON.parse hides, the names that an
 *  object has more than once. The last of equal names counts. */

import { setOwn } from "../../format/schema.ts"
import { goQuote } from "./go-text.ts"

/** `message` is Go's. */
export class GoJsonError extends Error {}

export interface ParsedJson {
  readonly value: unknown
  /** By object, its names that came more than once. */
  readonly duplicates: ReadonlyMap<object, ReadonlySet<string>>
}

/** How many of the things that a strict reader objects to are told: Kubernetes' own limit. */
export const PROBLEMS_MAX = 100

/** Go's limit is 10,000, for which this stack is too small; no object is nearly as deep. */
export const DEPTH_MAX = 1000

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y
const SPACE = /[ \t\r\n]*/y
const PLAIN = /[^"\\\u0000-\u001f]*/y
const LITERALS = {
  t: { word: "true", value: true },
  f: { word: "false", value: false },
  n: { word: "null", value: null },
} as const

/** %q of one byte, as Go prints a character that does not fit. */
function quoteChar(char: string): string {
  if (char === "'") return "'\\''"
  if (char === '"') return "'\"'"
  const byte = Buffer.from(char).subarray(0, 1).toString("latin1")
  return `'${goQuote(byte).slice(1, -1)}'`
}

/** Throws {@link GoJsonError}. */
export function parseGoJson(text: string): ParsedJson {
  const reader = new JsonReader(text)
  return { value: reader.document(), duplicates: reader.duplicates }
}

const AT_VALUE = "looking for beginning of value"

class JsonReader {
  readonly duplicates = new Map<object, Set<string>>()
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  document(): unknown {
    const value = this.#value(0)
    this.#skipSpace()
    if (this.#at < this.#text.length) throw this.#unexpected("after top-level value")
    return value
  }

  #unexpected(where: string): GoJsonError {
    const code = this.#text.codePointAt(this.#at)
    if (code === undefined) return new GoJsonError("unexpected end of JSON input")
    return new GoJsonError(`invalid character ${quoteChar(String.fromCodePoint(code))} ${where}`)
  }

  /** Empty at the end. */
  #peek(): string {
    return this.#text[this.#at] ?? ""
  }

  /** Moves past what `sticky` matches here. */
  #skip(sticky: RegExp): string {
    sticky.lastIndex = this.#at
    const [found = ""] = sticky.exec(this.#text) ?? []
    this.#at += found.length
    return found
  }

  #skipSpace(): void {
    this.#skip(SPACE)
  }

  #value(depth: number): unknown {
    if (depth > DEPTH_MAX) throw new GoJsonError("exceeded max depth")
    this.#skipSpace()
    const char = this.#peek()
    if (char === "{") return this.#object(depth + 1)
    if (char === "[") return this.#array(depth + 1)
    if (char === '"') return this.#string()
    if (char === "t" || char === "f" || char === "n") return this.#literal(LITERALS[char])
    if (/[-0-9]/.test(char)) return this.#number()
    throw this.#unexpected(AT_VALUE)
  }

  #object(depth: number): Record<string, unknown> {
    const object: Record<string, unknown> = {}
    if (this.#isEmpty("}")) return object
    do {
      this.#skipSpace()
      if (this.#peek() !== '"') throw this.#unexpected("looking for beginning of object key string")
      const name = this.#string()
      if (Object.hasOwn(object, name)) this.#noteDuplicate(object, name)
      this.#skipSpace()
      if (this.#peek() !== ":") throw this.#unexpected("after object key")
      this.#at++
      setOwn(object, name, this.#value(depth))
    } while (this.#goesOn("}", "after object key:value pair"))
    return object
  }

  #array(depth: number): unknown[] {
    const array: unknown[] = []
    if (this.#isEmpty("]")) return array
    do array.push(this.#value(depth))
    while (this.#goesOn("]", "after array element"))
    return array
  }

  /** Moves past the opening bracket, and past `close` where it follows. */
  #isEmpty(close: string): boolean {
    this.#at++
    this.#skipSpace()
    if (this.#peek() !== close) return false
    this.#at++
    return true
  }

  /** Moves past a comma or `close`; whether it was the comma. */
  #goesOn(close: string, where: string): boolean {
    this.#skipSpace()
    const char = this.#peek()
    if (char !== "," && char !== close) throw this.#unexpected(where)
    this.#at++
    return char === ","
  }

  #noteDuplicate(object: object, name: string): void {
    const names = this.duplicates.get(object) ?? new Set()
    this.duplicates.set(object, names.add(name))
  }

  #string(): string {
    const start = this.#at++
    let isEscaped = false
    for (this.#skip(PLAIN); this.#peek() !== '"'; this.#skip(PLAIN)) {
      if (this.#peek() !== "\\") throw this.#unexpected("in string literal")
      isEscaped = true
      this.#escape()
    }
    const end = ++this.#at
    if (!isEscaped) return this.#text.slice(start + 1, end - 1)
    return (JSON.parse(this.#text.slice(start, end)) as string).toWellFormed()
  }

  #escape(): void {
    this.#at++
    const char = this.#peek()
    if (!/["\\/bfnrtu]/.test(char)) throw this.#unexpected("in string escape code")
    this.#at++
    if (char === "u")
      for (let digit = 0; digit < 4; digit++, this.#at++)
        if (!/[0-9a-fA-F]/.test(this.#peek()))
          throw this.#unexpected("in \\u hexadecimal character escape")
  }

  #literal({ word, value }: (typeof LITERALS)[keyof typeof LITERALS]): boolean | null {
    for (const letter of word) {
      if (this.#peek() !== letter)
        throw this.#unexpected(`in literal ${word} (expecting ${quoteChar(letter)})`)
      this.#at++
    }
    return value
  }

  #number(): number {
    const number = this.#skip(NUMBER)
    const next = this.#peek()
    if (number === "") {
      this.#at++
      throw this.#unexpected("in numeric literal")
    }
    if (next === "." && !/[.eE]/.test(number)) {
      this.#at++
      throw this.#unexpected("after decimal point in numeric literal")
    }
    if (/[eE]/.test(next) && !/[eE]/.test(number)) {
      this.#at++
      this.#skip(/[-+]?/y)
      throw this.#unexpected("in exponent of numeric literal")
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
