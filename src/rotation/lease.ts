/** Leases: who runs the operation, and which servers are there. A lease is a counter in the datastore that its holder moves; whoever
 *  watches it stand still for long enough, by his own monotonic clock, takes the holder for gone. Leases are for speed, never
 *  for safety: two runners at once do no harm. */
import { isRunning, type Operation } from "./operation.ts"

/** How often a holder moves its counter at least. */
export const BEAT_MS = 2_000
/** How long a counter stands still before its holder is taken for gone. */
export const LEASE_MS = 8_000
/** No more than this counts between two looks: who was paused or cut off himself watched nothing meanwhile, and a holder that
 *  was cut off with him has the time for a beat. */
const BETWEEN_LOOKS_MS_MAX = 2 * BEAT_MS

/** What one server saw of a counter; all times are of its own monotonic clock. */
export interface Sighting {
  /** Compared for equality only. */
  readonly counter: string
  /** When the counter was first seen where it stands. */
  readonly seenMs: number
  readonly lookedMs: number
  /** For how long it was watched standing still. */
  readonly stillMs: number
}

/** What is known after one more look. */
export function look(
  before: Sighting | undefined,
  { counter, nowMs }: { readonly counter: string; readonly nowMs: number },
): Sighting {
  if (before?.counter !== counter) return { counter, seenMs: nowMs, lookedMs: nowMs, stillMs: 0 }
  const sinceMs = Math.min(nowMs - before.lookedMs, BETWEEN_LOOKS_MS_MAX)
  return { ...before, lookedMs: nowMs, stillMs: before.stillMs + sinceMs }
}

export const isGone = ({ stillMs }: Sighting): boolean => stillMs >= LEASE_MS

/** `take`: become the holder, by compare-and-swap, then run. `watch`: look again soon. */
export type Duty = "none" | "run" | "take" | "watch"

/** What `server` has to do about the operation record; `sighting` is of the record's version. */
export function dutyOf(
  operation: Operation | undefined,
  { server, sighting }: { readonly server: string; readonly sighting: Sighting },
): Duty {
  if (!isRunning(operation)) return "none"
  if (operation.holder === server) return "run"
  return operation.holder === null || isGone(sighting) ? "take" : "watch"
}
