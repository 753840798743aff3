import { expect, test } from "vitest"
import { rewriteAll } from "./etcd-rewrite.ts"
import type { Replacement } from "./store.ts"

const replacement = (index: number, sizeBytes: number): Replacement => ({
  key: `k${index}`,
  revision: index,
  column: "value",
  expected: Buffer.alloc(0),
  replacement: Buffer.alloc(sizeBytes),
})
const many = (count: number, sizeBytes: number): Replacement[] =>
  Array.from({ length: count }, (_, index) => replacement(index, sizeBytes))

test("a transaction has at most 127 puts, and 1 MiB where it has more than one", async () => {
  const sizes: number[] = []
  const put = async (batch: readonly Replacement[]) => {
    sizes.push(batch.length)
    return "done" as const
  }
  const small = await rewriteAll(many(300, 10), put)
  expect(small).toEqual({ outcome: "done", replaced: 300 })
  expect(sizes.splice(0)).toEqual([46, 127, 127])
  await rewriteAll(many(10, 300_000), put)
  expect(sizes.splice(0)).toEqual([3, 3, 3, 1].toReversed())
  await rewriteAll(many(3, 2_000_000), put)
  expect(sizes.splice(0)).toEqual([1, 1, 1])
})

test("what lost its comparison alone is passed over, however it lay", async () => {
  const lost = new Set(["k0", "k63", "k64", "k126", "k200"])
  const written = new Set<string>()
  const result = await rewriteAll(many(250, 10), async (batch) => {
    if (batch.some(({ key }) => lost.has(key))) return "lost"
    for (const { key } of batch) written.add(key)
    return "done"
  })
  expect(result).toEqual({ outcome: "done", replaced: 245 })
  expect(written.size).toBe(245)
})

test("under another fence it stops", async () => {
  let asked = 0
  const result = await rewriteAll(many(5_000, 10), async () => {
    asked += 1
    return "fenced"
  })
  expect(result).toEqual({ outcome: "fenced" })
  expect(asked).toBeLessThanOrEqual(16)
})
