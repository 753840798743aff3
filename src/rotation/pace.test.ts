import { expect, test } from "vitest"
import { FIRST_PACE, type Heard, nextPace, type Pace } from "./pace.ts"

const after = (count: number, heard: Heard, from = FIRST_PACE) =>
  Array.from({ length: count }).reduce<Pace>((pace) => nextPace(pace, heard), from)

const quiet: Heard = { isAsked: false, tookMs: 60, delayMs: 80, slowness: 9 }
const asked: Heard = { isAsked: true, tookMs: 2, delayMs: 1, slowness: 1 }

test("while nobody asks, batches grow and nothing pauses, however long they take", () => {
  expect(after(10, quiet)).toMatchObject({ rows: 2_000, pauseMs: 0 })
})

test("as soon as somebody asks, batches are small and most of the time is free", () => {
  const pace = nextPace(after(10, quiet), asked)
  expect(pace).toMatchObject({ rows: FIRST_PACE.rows, pauseMs: 8 * asked.tookMs })
})

test.each([
  { what: "the event loop stood still", heard: { delayMs: 8 } },
  { what: "answers get slower", heard: { slowness: 2 } },
])("pauses grow where $what, and shrink again", ({ heard }) => {
  const slow = after(10, { ...asked, ...heard })
  expect(slow.pauseMs).toBe(50)
  expect(after(40, asked, slow)).toEqual(after(1, asked))
})

test.each([
  { tookMs: 1, slowness: 1_000, delayMs: 1_000 },
  { tookMs: 10, slowness: 1_000, delayMs: 1_000 },
  { tookMs: 78, slowness: 1_000, delayMs: 1_000 },
  { tookMs: 10, slowness: 1, delayMs: 1 },
])("a thousand rows a second are reached where a batch is no slower than 78 ms: %o", (heard) => {
  const { rows, pauseMs } = after(100, { isAsked: true, ...heard })
  expect(rows / (heard.tookMs + pauseMs)).toBeGreaterThanOrEqual(1)
})

test("where the datastore cannot do a thousand, batches stay small", () => {
  const { rows, pauseMs } = after(100, { ...asked, tookMs: 5_000 })
  expect(rows).toBeLessThanOrEqual(128)
  expect(pauseMs).toBeLessThanOrEqual(50)
})
