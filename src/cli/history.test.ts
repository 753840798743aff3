import { expect, test } from "vitest"
import { entryOf } from "../rotation/history.ts"
import { historyText } from "./history.ts"

const finished = {
  ...entryOf({
    id: "1",
    verb: "rotate-keys",
    caller: { user: "server", address: "127.0.0.1" },
    server: "s1",
    target: "k2",
    now: new Date(0),
  }),
  rewritten: 4,
}

test("what may lack some of what was rewritten says so", () => {
  const outcomes = ["superseded", "aborted"] as const
  const superseded = outcomes.map((outcome) => ({ ...finished, outcome }))
  const text = historyText([finished, { ...finished, resumed: true }, ...superseded])
  const [, , ...rows] = text.split("\n")
  expect(rows.map((row) => row.split(/ {2,}/)[4])).toEqual(["4", ...Array(3).fill("at least 4")])
})
