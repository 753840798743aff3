import { expect, test } from "vitest"
import { settledPart } from "./sql-tail.ts"

const page = (compacted: number, ...ids: readonly number[]) => ({
  compacted,
  rows: ids.map((revision) => ({
    revision,
    name: `n${revision}`,
    change: undefined,
    ttlSeconds: 0,
  })),
})
/** `rows → upTo`, then what was skipped and what is missing. */
function shown(given: ReturnType<typeof page>, settled: number): string {
  const { rows, upTo, skippedTo, hole } = settledPart(given, settled)
  const skipped = skippedTo === undefined ? "" : ` skipped to ${skippedTo}`
  const missing = hole === undefined ? "" : ` missing ${hole.after + 1}..${hole.upTo}`
  return `${rows.map(({ revision }) => revision).join(",")} → ${upTo}${skipped}${missing}`
}

test.each([
  ["nothing new", page(0), 7, " → 7"],
  ["the next ids", page(0, 8, 9, 10), 7, "8,9,10 → 10"],
  ["a hole at once", page(0, 9, 10), 7, " → 7 missing 8..8"],
  ["a hole of several ids", page(0, 8, 12, 13), 7, "8 → 8 missing 9..11"],
  ["only the first hole", page(0, 8, 10, 12), 7, "8 → 8 missing 9..9"],
  ["what was compacted is not missing", page(11, 9, 12), 7, "9,12 → 12 skipped to 11"],
  ["compacted up to the hole", page(11, 9, 13), 7, "9 → 11 skipped to 11 missing 12..12"],
  ["compacted where it had followed", page(7, 8), 7, "8 → 8"],
  ["all compacted", page(11), 7, " → 11 skipped to 11"],
])("%s", (_, given, settled, expected) => {
  expect(shown(given, settled)).toBe(expected)
})
