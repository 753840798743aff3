import fc from "fast-check"
import { expect, test } from "vitest"
import { BEAT_MS, dutyOf, isGone, LEASE_MS, look, type Sighting } from "./lease.ts"
import { type Operation, startOperation } from "./operation.ts"

/** Looks at `counters` one after the other, each with the time of the clock. */
const lookAt = (...counters: readonly (readonly [nowMs: number, counter: string])[]): Sighting => {
  const seen = counters.reduce<Sighting | undefined>(
    (before, [nowMs, counter]) => look(before, { counter, nowMs }),
    undefined,
  )
  if (seen === undefined) throw new Error("nothing was looked at")
  return seen
}
const everySecond = (from: number, to: number, counter: string) =>
  Array.from({ length: to - from + 1 }, (_, i) => [(from + i) * 1000, counter] as const)

test("a counter is gone when it was watched standing still for 8 s, and not before", () => {
  expect(isGone(lookAt(...everySecond(0, 7, "a")))).toBe(false)
  expect(isGone(lookAt(...everySecond(0, 8, "a")))).toBe(true)
  expect(isGone(lookAt(...everySecond(0, 7, "a"), [8000, "b"]))).toBe(false)
})

test("a counter that comes back to an earlier value has moved", () => {
  expect(isGone(lookAt(...everySecond(0, 5, "a"), [6000, "b"], ...everySecond(7, 14, "a")))).toBe(
    false,
  )
})

test("the first sight of a counter says nothing, however old it is", () => {
  expect(lookAt([1e9, "a"])).toMatchObject({ stillMs: 0, seenMs: 1e9 })
})

test("who was away watched nothing: a holder cut off with him has the time for a beat", () => {
  const away = lookAt([0, "a"], [1000, "a"], [100_000, "a"])
  expect(isGone(away)).toBe(false)
  const goneMs = 100_000 + LEASE_MS - away.stillMs
  expect(goneMs - 100_000).toBeGreaterThan(BEAT_MS)
  expect(isGone(look(away, { counter: "a", nowMs: goneMs }))).toBe(true)
  expect(away.seenMs).toBe(0)
})

test("whatever the looks, a counter that moves every 2 s is never gone", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 60_000 }), { maxLength: 50 }), (pauses) => {
      let nowMs = 0
      let sighting: Sighting | undefined
      for (const pauseMs of pauses) {
        nowMs += pauseMs
        sighting = look(sighting, { counter: String(Math.floor(nowMs / BEAT_MS)), nowMs })
        expect(isGone(sighting)).toBe(false)
      }
    }),
  )
})

const running: Operation = {
  ...startOperation({
    id: "1",
    kind: "rotate-keys",
    holder: "a",
    target: "k",
    retires: true,
    now: new Date(0),
  }),
  fence: "f",
}
const fresh = lookAt([0, "1"])
const still = lookAt(...everySecond(0, 8, "1"))

// biome-ignore format: a table
const DUTIES = [
  // operation                            server  sighting  duty
  [undefined,                             "a",    still,    "none"],
  [{ ...running, state: "finished" },     "a",    still,    "none"],
  [{ ...running, state: "superseded" },   "b",    still,    "none"],
  [running,                               "a",    fresh,    "run"],
  [running,                               "a",    still,    "run"],
  [running,                               "b",    fresh,    "watch"],
  [running,                               "b",    still,    "take"],
  [{ ...running, holder: null },          "a",    fresh,    "take"],
] as const

test.each(DUTIES)("duty %#: %j on %s", (operation, server, sighting, duty) => {
  expect(dutyOf(operation, { server, sighting })).toBe(duty)
})
