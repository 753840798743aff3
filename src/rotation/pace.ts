/** How fast the rewriting goes beside the API's requests, as a pure function of what was heard since the last batch. While nobody
 *  asks anything it has the server to itself; else it works in short stretches with pauses, longer ones where answers get slower. */

export interface Pace {
  /** Of the next batch, at most. */
  readonly rows: number
  /** How long it pauses after a batch, in times of what the batch took. */
  readonly rest: number
}

/** What was seen while the last batch ran. */
export interface Heard {
  /** Whether somebody asked something lately. */
  readonly isAsked: boolean
  /** The longest time that the event loop stood still for anything. */
  readonly delayMs: number
  /** How long answers take now, in times of what they took while nothing was rewritten. */
  readonly slowness: number
}

const ROWS_MAX = 2_000
/** With {@link PAUSE_MS_MAX} the floor: some hundred rows a second, whatever else goes on. */
const ROWS_MIN = 16
export const PAUSE_MS_MAX = 50
const REST_MIN = 4
const REST_MAX = 30
const DELAY_MS_MAX = 3
const SLOWNESS_MAX = 1.25

/** Of a batch while somebody asks, at most: who writes on SQLite waits for it, and who reads on etcd. */
const ROWS_ASKED = 32

export const FIRST_PACE: Pace = { rows: ROWS_ASKED, rest: REST_MIN }

export function nextPace({ rows, rest }: Pace, { isAsked, delayMs, slowness }: Heard): Pace {
  if (!isAsked) return { rows: Math.min(ROWS_MAX, rows * 2), rest: REST_MIN }
  const fits = delayMs <= DELAY_MS_MAX
  const next = fits ? rows + ROWS_MIN : Math.min(ROWS_ASKED, rows / 2)
  return {
    rows: Math.round(Math.min(ROWS_ASKED, Math.max(ROWS_MIN, next))),
    rest: slowness > SLOWNESS_MAX ? Math.min(REST_MAX, rest * 2) : Math.max(REST_MIN, rest * 0.9),
  }
}

export const pauseMs = ({ rest }: Pace, { isAsked }: Heard, tookMs: number): number =>
  isAsked ? Math.min(PAUSE_MS_MAX, rest * tookMs) : 0
