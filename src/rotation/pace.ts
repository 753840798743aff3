/** How fast the rewriting goes beside the API's requests, as a pure function of what was heard since the last batch. While nobody
 *  asks anything it has the server to itself; else it works in short stretches with long pauses, longer ones where answers get
 *  slower, or the event loop stood still, but at about {@link RATE_MIN} where the datastore can do that. */

export interface Pace {
  /** Of the next batch, at most. */
  readonly rows: number
  /** How long it pauses after a batch, in times of what the batch took. */
  readonly rest: number
  /** Before the next batch. */
  readonly pauseMs: number
}

/** What was seen while the last batch ran. */
export interface Heard {
  /** Whether somebody asked something lately. */
  readonly isAsked: boolean
  /** What the batch took. */
  readonly tookMs: number
  /** The longest time that the event loop stood still for anything. */
  readonly delayMs: number
  /** How long answers take now, in times of what they took while nothing was rewritten. */
  readonly slowness: number
}

const ROWS_MAX = 2_000
/** Of a batch while somebody asks: who writes on SQLite waits for it, and who reads on etcd. More only where {@link RATE_MIN} needs
 *  them: where requests take all there is, each batch waits as they do, however small it is. */
const ROWS_ASKED = { min: 32, max: 128 }
/** Rows a second, at the least, while somebody asks. */
export const RATE_MIN = 1_000
/** Rows that the proof counts at a time for each that a pass rewrites. */
export const COUNTED_FOR_REWRITTEN = 4
const PAUSE_MS_MAX = 50
const REST_MIN = 8
const REST_MAX = 30
const DELAY_MS_MAX = 3
const SLOWNESS_MAX = 1.25

export const FIRST_PACE: Pace = { rows: ROWS_ASKED.min, rest: REST_MIN, pauseMs: 0 }

export function nextPace(pace: Pace, { isAsked, tookMs, delayMs, slowness }: Heard): Pace {
  if (!isAsked) return { ...FIRST_PACE, rows: Math.min(ROWS_MAX, pace.rows * 2) }
  const isSlow = delayMs > DELAY_MS_MAX || slowness > SLOWNESS_MAX
  const rest = isSlow ? Math.min(REST_MAX, pace.rest * 2) : Math.max(REST_MIN, pace.rest * 0.9)
  const pauseMs = Math.min(PAUSE_MS_MAX, rest * tookMs)
  const due = Math.ceil((RATE_MIN * (tookMs + pauseMs)) / 1_000)
  return { rows: Math.min(ROWS_ASKED.max, Math.max(ROWS_ASKED.min, due)), rest, pauseMs }
}
