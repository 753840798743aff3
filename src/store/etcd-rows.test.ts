import fc from "fast-check"
import { expect, test } from "vitest"
import type { KeyValue, RangeAsked } from "./etcd-messages.ts"
import { EtcdRows } from "./etcd-rows.ts"

const zeros = Buffer.alloc(400_000)

/** Rows over these keys, of revision 1; `looks`: at how many keys etcd would have looked. */
function rowsOver(keys: readonly string[], sizeBytes: (key: string) => number = () => 5) {
  const stored = keys.map((key) => ({ bytes: Buffer.from(key), modified: 1 }))
  stored.sort((one, other) => one.bytes.compare(other.bytes))
  const cost = { looks: 0, calls: 0 }
  const firstFrom = (key: RangeAsked["key"] = ""): number => {
    const from = Buffer.from(key)
    let [low, high] = [0, stored.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (from.compare(stored[middle]?.bytes ?? from) <= 0) high = middle
      else low = middle + 1
    }
    return low
  }
  const entryOf = ({ bytes, modified }: (typeof stored)[number]): KeyValue => {
    const key = bytes.toString()
    const value = zeros.subarray(0, sizeBytes(key))
    return { key, value, created: 1, modified, isLeased: false }
  }
  const range = async ({ key, end, limit = 0 }: RangeAsked) => {
    const [from, to] = [firstFrom(key), firstFrom(end)]
    const count = Math.max(0, to - from)
    cost.looks += count
    cost.calls += 1
    if (cost.calls > 10_000) throw new Error("it never ends")
    const entries = stored.slice(from, from + Math.min(limit, count)).map(entryOf)
    return { revision: 7, entries, count }
  }
  /** By somebody else, at revision 2. */
  const put = (key: string): void => {
    const bytes = Buffer.from(key)
    const at = firstFrom(key)
    const isThere = stored[at]?.bytes.equals(bytes) ?? false
    stored.splice(at, isThere ? 1 : 0, { bytes, modified: 2 })
  }
  const remove = (key: string): void => void stored.splice(firstFrom(key), 1)
  return { rows: new EtcdRows(range), cost, put, remove }
}

/** `between`: called after each batch. */
async function readAll(
  rows: EtcdRows,
  asked: { readonly limit: number; readonly upTo?: number },
  between = () => {},
): Promise<string[]> {
  const keys: string[] = []
  for (let cursor = ""; ; between()) {
    const batch = await rows.rows({ cursor, ...asked })
    if (batch.rows.length === 0) return keys
    keys.push(...batch.rows.map(({ key }) => key))
    cursor = batch.cursor
  }
}

const byBytes = (one: string, other: string): number =>
  Buffer.compare(Buffer.from(one), Buffer.from(other))
const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: fc.constantFrom("a", "b", "/", ":", "é", "😀") }),
)
/** As they come back from UTF-8. */
const someKeys = fc
  .uniqueArray(text, {
    minLength: 30,
    maxLength: 200,
    selector: (name) => Buffer.from(name).toString(),
  })
  .map((names) => names.map((name) => Buffer.from(`/registry/${name}`).toString()))
  .filter((keys) => !keys.some((key) => key.includes("\uFFFD")))

test("every key under /registry/ is read once, in order, whatever the keys are", async () => {
  await fc.assert(
    fc.asyncProperty(someKeys, fc.integer({ min: 1, max: 6 }), async (keys, limit) => {
      expect(await readAll(rowsOver(keys).rows, { limit })).toEqual(keys.toSorted(byBytes))
    }),
  )
})

test("while others write, all that they leave alone is read once, in order", async () => {
  const change = fc.record({ at: fc.nat(), kind: fc.constantFrom("put", "remove", "new") })
  const changes = fc.array(change, { maxLength: 60 })
  await fc.assert(
    fc.asyncProperty(
      someKeys,
      changes,
      fc.integer({ min: 1, max: 6 }),
      async (all, plan, limit) => {
        const [keys, later] = [all.slice(10), all.slice(0, 10)]
        const { rows, put, remove } = rowsOver(keys)
        const changed = new Set<string>(later)
        const between = () => {
          const { at = 0, kind } = plan.pop() ?? {}
          const key = keys[at % keys.length] ?? ""
          if (kind === "new") put(later[at % later.length] ?? "")
          else if (kind === "put") put(key)
          else if (kind === "remove" && !changed.has(key)) remove(key)
          if (kind === "put" || kind === "remove") changed.add(key)
        }
        const read = await readAll(rows, { limit, upTo: 1 }, between)
        expect(read).toEqual([...new Set(read)].toSorted(byBytes))
        expect(read.filter((key) => later.includes(key))).toEqual([])
        const left = keys.filter((key) => !changed.has(key)).toSorted(byBytes)
        expect(read.filter((key) => !changed.has(key))).toEqual(left)
      },
    ),
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
  expect(await readAll(rows, { limit: 200 })).toHaveLength(count)
  // To the end of the range each time it would be 150 times as many as there are.
  expect(cost.looks / count).toBeLessThan(25)
  expect(cost.calls).toBeLessThan((2 * count) / 200)
})

test("a few large values at the end of each namespace make no small batches of all others", async () => {
  const keys = Array.from(
    { length: 300 * 42 },
    (_, n) => `/registry/secrets/ns-${n % 300}/${n < 300 * 30 ? "a" : "sh.helm.release.v1"}-${n}`,
  )
  const { rows, cost } = rowsOver(keys, (key) => (key.includes("helm") ? zeros.length : 100))
  expect(await readAll(rows, { limit: 500 })).toHaveLength(keys.length)
  // By their bytes they are 172 batches.
  expect(cost.calls).toBeLessThan(220)
})

test("a cursor that somebody made up is no endless way, nor is a key that is no text", async () => {
  const { rows, cost } = rowsOver(["/registry/a", "/registry/b"])
  const made = await rows.rows({ cursor: `0:${"9".repeat(30)}:/registry/a`, limit: 5 })
  expect(made.rows.map(({ key }) => key)).toEqual(["/registry/b"])
  expect(cost.calls).toBeLessThan(20)
  const odd = rowsOver(["/registry/a", "/registry/\uFFFD"])
  const reading = odd.rows.rows({ cursor: "", limit: 5 })
  await expect(reading).rejects.toMatchObject({ code: "StoreCorrupt" })
})
