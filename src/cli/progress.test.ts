import { expect, test } from "vitest"
import { type Operation, startOperation } from "../rotation/operation.ts"
import type { Context } from "./context.ts"
import { bar, progressText, startProgress } from "./progress.ts"
import { duration } from "./text.ts"

const at = (looked: number, rows = 10_000): Operation => ({
  ...startOperation({
    id: "1",
    holder: "s1",
    kind: "reencrypt",
    target: "k",
    retires: true,
    now: new Date(0),
  }),
  fence: "f",
  rows,
  looked,
})

test.each([
  [0, 0, "0 of 10000 stored rows"],
  [0, 2_000, "0 of 10000 stored rows"],
  [4_000, 2_000, "4000 of 10000 stored rows, 2000 a second, 3 s left"],
  [10_000, 4_000, "10000 of 10000 stored rows, 2500 a second, 0 s left"],
  [10_500, 3_000, "10500 of 10000 stored rows, 3500 a second, 0 s left"],
])("%i looked at after %i ms", (looked, nowMs, text) => {
  expect(progressText(at(looked), { since: { looked: 0, atMs: 0 }, nowMs })).toBe(text)
})

test("the rate counts from where the command began to look", () => {
  const since = { looked: 9_000, atMs: 1_000 }
  const text = "9500 of 10000 stored rows, 500 a second, 1 s left"
  expect(progressText(at(9_500), { since, nowMs: 2_000 })).toBe(text)
})

test.each([
  [59, "59 s"],
  [60, "1 min 0 s"],
  [3_599, "59 min 59 s"],
  [7_261, "2 h 1 min"],
])("%i seconds are %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text)
})

test.each([
  [at(0), "[------------------------]"],
  [at(5_000), "[############------------]"],
  [at(10_001), "[########################]"],
  [at(0, 0), "[------------------------]"],
])("the bar", (operation, drawn) => {
  expect(bar(operation)).toBe(drawn)
})

/** What is written when the operation is looked at at these times. */
function written(isTerminal: boolean, looks: readonly (readonly [ms: number, looked: number])[]) {
  const said: string[] = []
  let nowMs = 0
  const stderr = { isTerminal, columns: 60, write: (text: string) => void said.push(text) }
  const progress = startProgress({ stderr, monotonicMs: () => nowMs } as Context)
  for (const [ms, looked] of looks) {
    nowMs = ms
    progress.show(at(looked))
  }
  progress.end()
  return said
}

test("on a terminal one line renews itself, never longer than the terminal, and goes at the end", () => {
  expect(
    written(true, [
      [0, 0],
      [1_000, 5_000],
    ]),
  ).toEqual([
    "\r\x1b[K[------------------------] 0 of 10000 stored rows",
    "\r\x1b[K[############------------] 5000 of 10000 stored rows, 5000 ",
    "\r\x1b[K",
  ])
  expect(written(true, [])).toEqual([])
})

test("what holds it up is told once, in a line of its own", () => {
  const said: string[] = []
  const stderr = { isTerminal: true, columns: 30, write: (text: string) => void said.push(text) }
  const progress = startProgress({ stderr, monotonicMs: () => 0 } as Context)
  progress.show(at(0))
  for (const trouble of ["disk full", "disk full", "disk gone"])
    progress.show({ ...at(0), trouble })
  const drawn = "\r\x1b[K[------------------------] 0 "
  const still = (why: string) =>
    `keyturn: reencrypt stands still: ${why}; the server tries again by itself\n`
  const gone = "\r\x1b[K"
  const full = [gone, still("disk full"), drawn, drawn]
  expect(said).toEqual([drawn, ...full, gone, still("disk gone"), drawn])
})

test("elsewhere there is a plain line every five seconds, and none for a short rewrite", () => {
  const looks = [0, 1_000, 4_999, 5_000, 9_000, 10_001].map((ms) => [ms, ms] as const)
  expect(written(false, looks)).toEqual([
    "keyturn: reencrypt: 5000 of 10000 stored rows, 1000 a second, 5 s left\n",
    "keyturn: reencrypt: 10001 of 10000 stored rows, 1000 a second, 0 s left\n",
  ])
})
