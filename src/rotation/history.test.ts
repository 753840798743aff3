import { expect, test } from "vitest"
import {
  decodeHistory,
  encodeHistory,
  ENTRIES_MAX,
  entryOf,
  HISTORY_BYTES_MAX,
  historyAfter,
  type HistoryEntry,
  isTold,
} from "./history.ts"
import { type Operation, startOperation } from "./operation.ts"

const now = new Date(0)
const entry = (id: string, more: Partial<HistoryEntry> = {}): HistoryEntry => ({
  ...entryOf({
    id,
    verb: "rotate-keys",
    caller: { user: "server", address: "127.0.0.1" },
    server: "s1",
    target: "k2",
    now,
  }),
  ...more,
})
const operation = (id: string, more: Partial<Operation> = {}): Operation => ({
  ...startOperation({ id, holder: "s1", kind: "rotate-keys", target: "k2", retires: true, now }),
  fence: "f",
  ...more,
})
const before = operation("1", { looked: 5, rewritten: 4 })
const running = entry("1", { outcome: "running", ended: null })

test("a verb that starts an operation is entered as running, another one as finished", () => {
  const told = { entry: entry("1"), before: undefined, after: operation("1") }
  expect(historyAfter([], told)).toEqual([running])
  expect(historyAfter([], { ...told, after: undefined })).toEqual([entry("1")])
})

test("the end of an operation is told in its entry, with its counts and its proof", () => {
  const proof = { fence: "f", revision: 9, counts: { k1: 0, k2: 4 } }
  const end = { ended: "later", looked: 6, rewritten: 4, unreadable: 1, retired: ["k1"], proof }
  const after = { ...before, ...end, state: "finished" } as const
  expect(historyAfter([running], { entry: undefined, before, after })).toEqual([
    { ...running, ...end, outcome: "finished" },
  ])
})

test("an operation that another verb takes over is superseded by its entry", () => {
  const after = operation("2", { started: "then" })
  const [first, second] = historyAfter([running], { entry: entry("2"), before, after })
  const counts = { looked: 5, rewritten: 4 }
  const over = { outcome: "superseded", ended: "then", endedBy: "2", ...counts }
  expect(first).toEqual({ ...running, ...over })
  expect(second).toMatchObject({ id: "2", outcome: "running", ended: null })
})

test("what an operation saves on its way is not told, nor one that had ended before", () => {
  const after = { ...before, looked: 6 }
  expect(isTold({ entry: undefined, before, after })).toBe(false)
  expect(isTold({ entry: undefined, before, after: undefined })).toBe(false)
  const ended = operation("1", { state: "finished" })
  expect(historyAfter([entry("1")], { entry: entry("2"), before: ended, after })).toEqual([
    entry("1"),
    entry("2"),
  ])
})

test("the newest entries are kept, as many and as long as the record may be", () => {
  const many = Array.from({ length: ENTRIES_MAX + 5 }, (_, i) => entry(`${i}`))
  expect(decodeHistory(encodeHistory(many))).toEqual(many.slice(5))
  const retired = ["k".repeat(HISTORY_BYTES_MAX / 3)]
  const long = ["1", "2", "3"].map((id) => entry(id, { retired }))
  expect(decodeHistory(encodeHistory(long))).toEqual(long.slice(1))
})

test("what is damaged is left out", () => {
  for (const text of ["", "{{", "null", "{}", '"x"'])
    expect(decodeHistory(Buffer.from(text)), text).toEqual([])
  for (const name of Object.keys(running)) {
    const damaged = { ...running, [name]: { a: "b" } }
    const stored = Buffer.from(JSON.stringify([damaged, entry("2")]))
    expect(decodeHistory(stored), name).toEqual([entry("2")])
  }
})
