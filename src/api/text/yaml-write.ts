/** YAML as Kubernetes writes it: keys in natural order, lists not indented, and a string quoted only where a reader
 *  of YAML 1.1 would take it for something else. */

import { isRecord } from "../../format/schema.ts"

const DIGIT = /[0-9]/
const LETTER = /\p{L}/u

/** Numbers within keys count as numbers: `a9` before `a10`; what is no letter comes before letters. */
function compareKeys(a: string, b: string): number {
  const [left, right] = [[...a], [...b]]
  let at = 0
  while (at < left.length && at < right.length && left[at] === right[at]) at++
  const [x, y] = [left[at], right[at]]
  if (x === undefined || y === undefined) return left.length - right.length
  const [isLetterX, isLetterY] = [LETTER.test(x), LETTER.test(y)]
  if (isLetterX !== isLetterY) return isLetterX ? 1 : -1
  return (isLetterX ? 0 : compareDigits({ left, right, at })) || (x < y ? -1 : 1)
}

/** The runs of digits around the first difference, as numbers and then by length. */
function compareDigits(of: { left: string[]; right: string[]; at: number }): number {
  const { left, right, at } = of
  const end = (letters: string[]): number => {
    let to = at
    while (DIGIT.test(letters[to] ?? "")) to++
    return to
  }
  let start = at
  while (start > 0 && DIGIT.test(left[start - 1] ?? "")) start--
  const [endLeft, endRight] = [end(left), end(right)]
  const number = (letters: string[], to: number) => Number(letters.slice(start, to).join("") || 0)
  return number(left, endLeft) - number(right, endRight) || endLeft - endRight
}

/** What YAML 1.1 reads as null, a boolean, a merge, a number or a time. */
const NOT_TEXT = [
  /^(?:~|null|Null|NULL|<<|)$/,
  /^(?:y|Y|yes|Yes|YES|on|On|ON|n|N|no|No|NO|off|Off|OFF|true|True|TRUE|false|False|FALSE)$/,
  /^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$/,
  /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/,
  /^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$/,
  /^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$/,
  /^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*)?$/,
]

/** What cannot stand bare: an indicator at the start, `: ` or ` #` within, space at an end. */
const NEEDS_QUOTES = /^[-?:](?=\s|$)|^[,[\]{}#&*!|>'"%@`]|^---|^\.\.\.|: |:$|\s#|^\s|\s$/

const UNPRINTABLE = /[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]/u

function scalar(text: string, indent: string): string {
  if (UNPRINTABLE.test(text) || /[\x85\u2028\u2029]/.test(text)) return doubleQuoted(text)
  if (text.includes("\n"))
    return /^\s|\t|[^\n] +\n/.test(text) ? doubleQuoted(text) : literal(text, indent)
  if (NOT_TEXT.some((pattern) => pattern.test(text))) return doubleQuoted(text)
  if (!NEEDS_QUOTES.test(text) && !text.includes("\t")) return text
  return text.includes("\t") ? doubleQuoted(text) : `'${text.replaceAll("'", "''")}'`
}

const doubleQuoted = (text: string): string =>
  JSON.stringify(text).replace(/[\x7f-\xa0\u2028\u2029\ufeff]/g, escaped)

const escaped = (char: string): string =>
  `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`

/** Clip, strip or keep: as many newlines as the text ends in. */
function literal(text: string, indent: string): string {
  const chomp = text.endsWith("\n\n") || text === "\n" ? "+" : text.endsWith("\n") ? "" : "-"
  const lines = text.replace(/\n$/, "").split("\n")
  return `|${chomp}\n${lines.map((line) => (line === "" ? "" : indent + line)).join("\n")}`
}

function write(value: unknown, indent: string, lines: string[]): void {
  if (Array.isArray(value)) for (const item of value) writeItem(item, indent, lines)
  else if (isRecord(value))
    for (const key of Object.keys(value).toSorted(compareKeys)) {
      const below = value[key]
      if (below === undefined) continue
      const inner = Array.isArray(below) ? indent : `${indent}  `
      const head = `${indent}${key.includes("\n") ? doubleQuoted(key) : scalar(key, "")}:`
      if (isBlock(below)) {
        lines.push(head)
        write(below, inner, lines)
      } else lines.push(`${head} ${flow(below, `${indent}  `)}`)
    }
}

/** The first line of an item stands behind its dash. */
function writeItem(item: unknown, indent: string, lines: string[]): void {
  if (!isBlock(item)) {
    lines.push(`${indent}- ${flow(item, `${indent}  `)}`)
    return
  }
  const start = lines.length
  write(item, `${indent}  `, lines)
  lines[start] = `${indent}- ${(lines[start] ?? "").slice(indent.length + 2)}`
}

const isBlock = (value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.keys(value).length > 0

function flow(value: unknown, indent: string): string {
  if (typeof value === "string") return scalar(value, indent)
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "[]" : "{}"
  return String(value)
}

/** A JSON value, with a newline at the end. */
export function toYaml(value: unknown): string {
  if (!isBlock(value)) return `${flow(value, "  ")}\n`
  const lines: string[] = []
  write(value, "", lines)
  return `${lines.join("\n")}\n`
}
