/** How Go prints values, for messages that must equal kube-apiserver's to the letter. Pure text. */

const SHORT_ESCAPES = new Map([
  ["\x07", "\\a"],
  ["\b", "\\b"],
  ["\f", "\\f"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ["\v", "\\v"],
  ['"', '\\"'],
  ["\\", "\\\\"],
])

const hex = (code: number, width: number): string => code.toString(16).padStart(width, "0")

function quoteRune(rune: string): string {
  const short = SHORT_ESCAPES.get(rune)
  if (short !== undefined) return short
  if (/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u.test(rune)) return rune
  const code = rune.codePointAt(0) ?? 0
  if (code < 0x20 || code === 0x7f) return `\\x${hex(code, 2)}`
  return code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`
}

/** `%q` of a string (strconv.Quote). */
export const goQuote = (text: string): string =>
  PLAIN.test(text) ? `"${text}"` : `"${Array.from(text, quoteRune).join("")}"`

const PLAIN = /^[ !#-[\]-~]*$/

/** json.Marshal, or json.MarshalIndent: JSON with `<`, `>`, `&` and the two line separators escaped. Keys stay in their order. */
export function goJson(value: unknown, indentSpaces = 0): string {
  const json = JSON.stringify(value, undefined, indentSpaces)
  // Looking for each is much faster than looking for all, and few answers have any.
  if (!ESCAPED.some((char) => json.includes(char))) return json
  return json.replace(/[<>&\u2028\u2029]/g, (char) => `\\u${hex(char.codePointAt(0) ?? 0, 4)}`)
}

const ESCAPED = ["<", ">", "&", "\u2028", "\u2029"]

/** json.Marshal of a map at every level: keys in order. */
export const goSortedJson = (value: unknown): string => goJson(sortKeys(value))

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys)
  if (typeof value !== "object" || value === null) return value
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, item]) => [key, sortKeys(item)]))
}

/** A scalar as it stands in a message: a string is itself, and what is not there is nothing. */
export const scalarText = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined || value === null ? "" : goJson(value)

/** `%v` of what json.Unmarshal makes of a JSON value. */
export function goPrint(value: unknown): string {
  if (value === null || value === undefined) return "<nil>"
  if (Array.isArray(value)) return `[${value.map(goPrint).join(" ")}]`
  if (typeof value !== "object") return scalarText(value)
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `map[${entries.map(([key, item]) => `${key}:${goPrint(item)}`).join(" ")}]`
}
