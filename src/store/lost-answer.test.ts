import { expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import type { EngineWrite } from "./engine-write.ts"
import { AnswerLost, type Look, lookFor, type WrittenRow } from "./lost-answer.ts"

const value = Buffer.from("ours")
const theirs = { created: true, deleted: false, replaces: 0, value: Buffer.from("theirs") }
const entry = { key: "/a", value: theirs.value, revision: 7, createRevision: 7 }
const create = {
  kind: "create",
  key: "/a",
  fence: "f1",
  expected: 0,
  value,
  ttlSeconds: 0,
} as const
const update = { ...create, kind: "update", expected: 5 } as const
const lost = { lost: new AnswerLost("the connection ended"), warn: () => {} }

/** What is found: the rows first, then the live entry. */
const found = (rows: readonly Omit<WrittenRow, "revision">[], fence = "f1"): Look => ({
  rows: async () => rows.map((row) => ({ revision: 7, ...row })),
  live: async () => entry,
  fence: async () => fence,
})

async function outcome(write: EngineWrite, look: Look): Promise<string> {
  try {
    return (await lookFor(write, look, lost)).outcome
  } catch (error) {
    if (isKnown(error)) return error.code
    throw error
  }
}

test.each<[string, EngineWrite, Look, string]>([
  ["its own bytes", create, found([{ ...theirs, value }]), "done"],
  // Found by the simulator: another's object went, or it was its own that came between the two reads.
  ["another's in the place of a create", create, found([theirs]), "OutcomeUnknown"],
  ["an entry that came after the rows were read", create, found([]), "OutcomeUnknown"],
  ["nothing in the place of an update", update, found([]), "OutcomeUnknown"],
  ["another's update", update, found([{ ...theirs, created: false, replaces: 5 }]), "conflict"],
  [
    "another fence",
    update,
    found([{ ...theirs, created: false, replaces: 5 }], "f2"),
    "OutcomeUnknown",
  ],
])("a lost write that finds %s", async (_, write, look, expected) => {
  expect(await outcome(write, look)).toBe(expected)
})
