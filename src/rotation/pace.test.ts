import { expect, test } from "vitest"
import { FIRST_PACE, type Heard, nextPace, type Pace, PAUSE_MS_MAX, pauseMs } from "./pace.ts"

const after = (count: number, heard: Heard, from = FIRST_PACE) =>
  Array.from({ length: count }).reduce<Pace>((pace) => nextPace(pace, heard), from)

const quiet: Heard = { isAsked: false, delayMs: 80, slowness: 9 }
const asked: Heard = { isAsked: true, delayMs: 1, slowness: 1 }

test("while nobody asks, batches grow and nothing pauses, however long they take", () => {
  expect(after(10, quiet)).toEqual({ rows: 2_000, rest: 4 })
  expect(pauseMs(after(10, quiet), quiet, 60)).toBe(0)
})

test("as soon as somebody asks, batches are small and most of the time is free", () => {
  const pace = nextPace(after(10, quiet), asked)
  expect(pace.rows).toBeLessThanOrEqual(FIRST_PACE.rows)
  expect(pauseMs(pace, asked, 2)).toBe(8)
})

test("batches shrink where the event loop stood still, and grow again", () => {
  const small = after(10, { ...asked, delayMs: 8 })
  expect(small.rows).toBe(16)
  expect(after(20, asked, small).rows).toBe(FIRST_PACE.rows)
})

test("pauses grow where answers get slower, and shrink again", () => {
  const slow = after(10, { ...asked, slowness: 2 })
  expect(slow.rest).toBe(30)
  expect(after(40, asked, slow).rest).toBe(4)
})

test("it never starves: whatever is heard, a batch and a pause have their bounds", () => {
  const worst: Heard = { isAsked: true, delayMs: 1_000, slowness: 1_000 }
  const pace = after(1_000, worst)
  expect(pace.rows).toBeGreaterThanOrEqual(16)
  expect(pauseMs(pace, worst, 1_000)).toBe(PAUSE_MS_MAX)
})
