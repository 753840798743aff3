/** Values that Go writes as strings, and its words where a string is not one: base64, times, integers, durations. */

import { GoJsonError } from "./go-json.ts"
import { goQuote } from "./go-text.ts"

/** What base64.StdEncoding says of `text`; undefined where it decodes, newlines within it included. */
export function base64Error(text: string): string | undefined {
  const at = base64ErrorAt(text)
  return at === undefined ? undefined : `illegal base64 data at input byte ${at}`
}

const skipNewlines = (text: string, from: number): number => {
  let at = from
  while (text[at] === "\n" || text[at] === "\r") at++
  return at
}

function base64ErrorAt(text: string): number | undefined {
  let inGroup = 0
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? ""
    if (char === "\n" || char === "\r") continue
    if (/[A-Za-z0-9+/]/.test(char)) {
      inGroup = (inGroup + 1) % 4
      continue
    }
    if (char !== "=" || inGroup < 2) return at
    return paddingErrorAt(text, { at, inGroup })
  }
  return inGroup === 0 ? undefined : text.length - inGroup
}

/** `at`: the first `=`, after two or three characters of its group. */
function paddingErrorAt(text: string, { at, inGroup }: { at: number; inGroup: number }) {
  let last = at
  if (inGroup === 2) {
    last = skipNewlines(text, at + 1)
    if (last >= text.length) return text.length
    if (text[last] !== "=") return last
  }
  const rest = skipNewlines(text, last + 1)
  return rest < text.length ? rest : undefined
}

// biome-ignore format: tables
const SECONDS = [
  [/^\d{4}/, "2006"], [/^-/, "-"], [/^\d\d/, "01"], [/^-/, "-"], [/^\d\d/, "02"], [/^T/, "T"],
  [/^\d\d/, "15"], [/^:/, ":"], [/^\d\d/, "04"], [/^:/, ":"], [/^\d\d/, "05"],
] as const
const FRACTION = [/^[.,]\d+/, ""] as const
const MICROS = [/^[.,]\d{6}(?!\d)/, ".000000"] as const
const ZONE = [/^(?:Z|[-+]\d\d:\d\d)/, "Z07:00"] as const

/** Go's layouts of metav1.Time and metav1.MicroTime, piece by piece. */
export const TIME_LAYOUTS = {
  Time: { name: "2006-01-02T15:04:05Z07:00", pieces: [...SECONDS, FRACTION, ZONE] },
  MicroTime: { name: "2006-01-02T15:04:05.000000Z07:00", pieces: [...SECONDS, MICROS, ZONE] },
} as const

/** The instant in UTC, to the second or the microsecond. Throws {@link GoJsonError} with what time.Parse says. */
export function parseTime(layout: keyof typeof TIME_LAYOUTS, text: string): string {
  const { name, pieces } = TIME_LAYOUTS[layout]
  const fail = (why: string) => new GoJsonError(`parsing time ${goQuote(text)}${why}`)
  let rest = text
  for (const [pattern, element] of pieces) {
    const found = pattern.exec(rest)?.[0]
    if (found === undefined && element !== "")
      throw fail(` as ${goQuote(name)}: cannot parse ${goQuote(rest)} as ${goQuote(element)}`)
    rest = rest.slice(found?.length ?? 0)
  }
  if (rest !== "") throw fail(`: extra text: ${goQuote(rest)}`)
  const wrong = outOfRange(text)
  if (wrong !== undefined) throw fail(`: ${wrong} out of range`)
  return inUtc(text, layout)
}

function outOfRange(text: string): string | undefined {
  const part = (from: number, to: number) => Number(text.slice(from, to))
  const [year, month, day] = [part(0, 4), part(5, 7), part(8, 10)]
  if (month < 1 || month > 12) return "month"
  if (day < 1 || day > new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate()) return "day"
  if (part(11, 13) > 23) return "hour"
  if (part(14, 16) > 59) return "minute"
  if (part(17, 19) > 59) return "second"
  return undefined
}

function inUtc(text: string, layout: keyof typeof TIME_LAYOUTS): string {
  const [, seconds = "", fraction = "", zone = ""] = /^(.{19})(?:[.,](\d+))?(.*)$/.exec(text) ?? []
  const whole = new Date(seconds + zone).toISOString().slice(0, 19)
  return layout === "Time" ? `${whole}Z` : `${whole}.${fraction}Z`
}

const INT64_MAX = 2n ** 63n

/** strconv.ParseInt(text, 10, 64), its errors as messages. An integer beyond 2^53 becomes the nearest double. */
export function parseInt64(text: string): number | { readonly error: string } {
  const error = (why: string) => ({ error: `strconv.ParseInt: parsing ${goQuote(text)}: ${why}` })
  if (!/^[-+]?[0-9]+$/.test(text)) return error("invalid syntax")
  const value = BigInt(text.replace(/^\+/, ""))
  if (value >= INT64_MAX || value < -INT64_MAX) return error("value out of range")
  return Number(value)
}

const UNIT_MS = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1e3, m: 6e4, h: 3.6e6 } as const

/** time.ParseDuration in milliseconds, its errors as messages. */
export function parseDuration(text: string): number | { readonly error: string } {
  const invalid = { error: `time: invalid duration ${goQuote(text)}` }
  const [, sign, body = ""] = /^([-+]?)(.*)$/s.exec(text) ?? []
  if (body === "0") return 0
  if (body === "") return invalid
  let totalMs = 0
  for (let rest = body; rest !== ""; ) {
    const [, number = "", unit = ""] = /^(\d+\.?\d*|\.\d+)([^\d.]*)/s.exec(rest) ?? []
    if (number === "") return invalid
    if (unit === "") return { error: `time: missing unit in duration ${goQuote(text)}` }
    if (!Object.hasOwn(UNIT_MS, unit))
      return { error: `time: unknown unit ${goQuote(unit)} in duration ${goQuote(text)}` }
    totalMs += Number(number) * UNIT_MS[unit as keyof typeof UNIT_MS]
    rest = rest.slice(number.length + unit.length)
  }
  return sign === "-" ? -totalMs : totalMs
}
