import fc from "fast-check"
import { expect, test } from "vitest"
import type { KeyValue, RangeAsked } from "./etcd-messages.ts"
import { EtcdRows } from "./etcd-rows.ts"

/** Rows over these keys alone; `looks`: at how many keys etcd would have looked. */
function rowsOver(keys: readonly string[]) {
  const sorted = keys
    .map((key) => Buffer.from(key))
    .toSorted((one, other) => Buffer.compare(one, other))
  const cost = { looks: 0, calls: 0 }
  const firstFrom = (key: RangeAsked["key"] = ""): number => {
    const from = Buffer.from(key)
    let [low, high] = [0, sorted.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (from.compare(sorted[middle] ?? from) <= 0) high = middle
      else low = middle + 1
    }
    return low
  }
  const range = async ({ key, end, limit = 0 }: RangeAsked) => {
    const [from, to] = [firstFrom(key), firstFrom(end)]
    const count = Math.max(0, to - from)
    cost.looks += count
    cost.calls += 1
    const entries = sorted.slice(from, from + Math.min(limit, count)).map(entryOf)
    return { revision: 7, entries, count }
  }
  return { rows: new EtcdRows(range), cost }
}

const entryOf = (key: Buffer): KeyValue => ({
  key: key.toString(),
  value: Buffer.from("value"),
  created: 1,
  modified: 1,
  isLeased: false,
})

async function readAll(rows: EtcdRows, limit: number): Promise<string[]> {
  const keys: string[] = []
  for (let cursor = ""; ; ) {
    const batch = await rows.rows({ cursor, limit })
    if (batch.rows.length === 0) return keys
    keys.push(...batch.rows.map(({ key }) => key))
    cursor = batch.cursor
  }
}

test("every key under /registry/ is read once, in order, whatever the keys are", async () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: fc.constantFrom("a", "b", "/", "0") }),
  )
  const set = fc.uniqueArray(text, {
    minLength: 30,
    maxLength: 200,
    selector: (key) => Buffer.from(key).toString(),
  })
  await fc.assert(
    fc.asyncProperty(set, fc.integer({ min: 1, max: 6 }), async (names, limit) => {
      const keys = names.map((name) => Buffer.from(`/registry/${name}`).toString())
      const { rows } = rowsOver(keys)
      const sorted = keys.toSorted((one, other) =>
        Buffer.compare(Buffer.from(one), Buffer.from(other)),
      )
      expect(await readAll(rows, limit)).toEqual(sorted)
    }),
  )
})

const numbered = (n: number) => `/registry/secrets/default/bench-${String(n).padStart(7, "0")}`
const spread = (n: number) =>
  `/registry/secrets/team-${(n * 7919) % 1_013}/token-${((n * 2_654_435_761) >>> 0).toString(36)}`
const kinds = (n: number) =>
  `/registry/${n % 3 === 0 ? "configmaps" : "secrets"}/ns-${n % 11}/app.v${n}`

test.each([
  ["numbered", numbered],
  ["in a thousand namespaces", spread],
  ["of two kinds", kinds],
])("what etcd looks at grows as the keys do: %s", async (_, name) => {
  const count = 60_000
  const { rows, cost } = rowsOver(Array.from({ length: count }, (_, n) => name(n)))
  expect(await readAll(rows, 200)).toHaveLength(count)
  // To the end of the range each time it would be 150 times as many as there are.
  expect(cost.looks / count).toBeLessThan(25)
  expect(cost.calls).toBeLessThan((2 * count) / 200)
})
