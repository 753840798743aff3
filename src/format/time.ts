/** metav1.Time and metav1.MicroTime: a Timestamp message in bytes, RFC 3339 in JSON. The zero time is an empty message
 *  and null. */

import { KnownError } from "../errors.ts"
import { int32, int64 } from "./scalars.ts"
import { type FieldType, invalid, message } from "./schema.ts"
import { BYTES, corrupt } from "./wire.ts"

interface Instant {
  readonly seconds: number
  readonly nanos: number
}

const Timestamp = message("Timestamp", [
  [1, "seconds", int64, "always"],
  [2, "nanos", int32, "always"],
])

/** RFC 3339 has years of four digits. */
const YEAR_0_SECONDS = -62_167_219_200
const YEAR_10000_SECONDS = 253_402_300_800
/** 0001-01-01T00:00:00Z */
const GO_ZERO_SECONDS = -62_135_596_800

const inRange = ({ seconds, nanos }: Instant): boolean =>
  seconds >= YEAR_0_SECONDS && seconds < YEAR_10000_SECONDS && nanos >= 0 && nanos < 1e9

const timestamp = (name: string, digits: 0 | 6): FieldType => ({
  name,
  wireType: BYTES,
  zero: () => null,
  decode(reader, end, where) {
    if (reader.position === end) return null
    const at = reader.position
    const instant = Timestamp.decode(reader, end, where) as Instant
    if (!inRange(instant)) throw corrupt(`${where}: a time outside the years 0 to 9999`, at)
    const micros = Math.floor(instant.nanos / 1000)
    const fraction = digits === 0 ? "" : `.${String(micros).padStart(digits, "0")}`
    return `${dateTime(instant.seconds)}${fraction}Z`
  },
  encode(writer, value, where) {
    if (value === null) return
    if (typeof value !== "string") throw invalid(where, "time", value)
    const instant = parse(value, digits)
    if (instant === undefined)
      throw new KnownError("ObjectInvalid", `${where}: not a time in RFC 3339`)
    if (instant.seconds !== GO_ZERO_SECONDS || instant.nanos !== 0)
      Timestamp.encode(writer, instant, where)
  },
})

export const time = timestamp("Time", 0)
export const microTime = timestamp("MicroTime", 6)

/** metav1.Time of an instant: RFC 3339 in whole seconds, as Kubernetes writes times. */
export const toTime = (instant: Date): string => `${instant.toISOString().slice(0, 19)}Z`

const RFC_3339 = /^(\d{4}-\d\d-(\d\d))T(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.(\d+))?(?:Z|[+-]\d\d:\d\d)$/

function parse(text: string, digits: 0 | 6): Instant | undefined {
  const [, date, day, fraction = ""] = RFC_3339.exec(text) ?? []
  if (date === undefined || (Number(day) > 28 && !isDate(date))) return undefined
  const micros = digits === 0 ? 0 : Number(fraction.slice(0, digits).padEnd(digits, "0"))
  const instant = { seconds: Math.floor(Date.parse(text) / 1000), nanos: micros * 1000 }
  return inRange(instant) ? instant : undefined
}

/** Date.parse takes the 30th of February for a day in March. */
function isDate(date: string): boolean {
  const ms = Date.parse(date)
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(date)
}

const DAY_SECONDS = 86_400
const TWO_DIGITS = Array.from({ length: 60 }, (_, n) => String(n).padStart(2, "0"))
let last = { day: 0, date: "1970-01-01" }

/** `2026-11-23T20:43:18`. Times of one day follow each other, and Date is slow. */
function dateTime(seconds: number): string {
  const day = Math.floor(seconds / DAY_SECONDS)
  if (day !== last.day)
    last = { day, date: new Date(day * DAY_SECONDS * 1000).toISOString().slice(0, 10) }
  const rest = seconds - day * DAY_SECONDS
  const hours = TWO_DIGITS[Math.floor(rest / 3600)]
  const minutes = TWO_DIGITS[Math.floor(rest / 60) % 60]
  return `${last.date}T${hours}:${minutes}:${TWO_DIGITS[rest % 60]}`
}
