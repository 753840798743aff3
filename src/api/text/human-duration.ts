/** How long ago something was, as `kubectl get` shows it: two or three figures that matter
 *  (k8s.io/apimachinery/pkg/util/duration). */

const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const YEAR = 365 * DAY

/** `seconds` in `unit`s, and what is left in `rest`s where it is not zero. */
const split = (
  seconds: number,
  unit: readonly [string, number],
  rest: readonly [string, number],
): string => {
  const left = Math.floor((seconds % unit[1]) / rest[1])
  const whole = `${Math.floor(seconds / unit[1])}${unit[0]}`
  return left === 0 ? whole : `${whole}${left}${rest[0]}`
}

const whole = (seconds: number, [letter, size]: readonly [string, number]): string =>
  `${Math.floor(seconds / size)}${letter}`

const Y = ["y", YEAR] as const
const D = ["d", DAY] as const
const H = ["h", HOUR] as const
const M = ["m", MINUTE] as const
const S = ["s", 1] as const

/** Clocks may differ by less than two seconds: a time that near in the future counts as now. */
export function humanDuration(durationMs: number): string {
  const seconds = Math.trunc(durationMs / 1000)
  if (seconds < -1) return "<invalid>"
  if (seconds < 0) return "0s"
  if (seconds < 2 * MINUTE) return whole(seconds, S)
  if (seconds < 10 * MINUTE) return split(seconds, M, S)
  if (seconds < 3 * HOUR) return whole(seconds, M)
  if (seconds < 8 * HOUR) return split(seconds, H, M)
  if (seconds < 2 * DAY) return whole(seconds, H)
  if (seconds < 8 * DAY) return split(seconds, D, H)
  if (seconds < 2 * YEAR) return whole(seconds, D)
  if (seconds < 8 * YEAR) return split(seconds, Y, D)
  return whole(seconds, Y)
}

/** The age of a metav1.Time or MicroTime. */
export const ageOf = (time: unknown, now: Date): string =>
  typeof time === "string" && time !== ""
    ? humanDuration(now.getTime() - Date.parse(time))
    : "<unknown>"
