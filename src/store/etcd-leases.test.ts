import { afterEach, beforeEach, expect, test, vi } from "vitest"
import { Leases } from "./etcd-leases.ts"

const granted: { id: number; ttlSeconds: number }[] = []
let leases: Leases
beforeEach(() => {
  vi.useFakeTimers()
  granted.length = 0
  leases = new Leases(async (lease) => granted.push(lease))
})
afterEach(() => {
  leases.close()
  vi.useRealTimers()
})

test("entries written within a twentieth of their life share a lease that outlives it", async () => {
  const first = await leases.for(100)
  expect(granted).toEqual([{ id: first, ttlSeconds: 105 }])
  vi.advanceTimersByTime(4_900)
  expect(await leases.for(100)).toBe(first)
  expect(await leases.for(200)).not.toBe(first)
  vi.advanceTimersByTime(200)
  expect(await leases.for(100)).not.toBe(first)
  expect(granted).toHaveLength(3)
})

test("a long life is shared for a minute, and by a thousand entries", async () => {
  const ids = new Set<number>()
  for (let entry = 0; entry < 1_000; entry += 1) ids.add(await leases.for(86_400))
  expect([...ids]).toEqual([granted[0]?.id])
  expect(granted[0]?.ttlSeconds).toBe(86_460)
  expect(ids).not.toContain(await leases.for(86_400))
  vi.advanceTimersByTime(61_000)
  await leases.for(86_400)
  expect(granted).toHaveLength(3)
})

test("without a time to live there is none, and one that is gone or failed is taken anew", async () => {
  expect(await leases.for(0)).toBe(0)
  expect(granted).toEqual([])
  const first = await leases.for(100)
  leases.forget(100)
  expect(await leases.for(100)).not.toBe(first)

  let isAway = true
  const failing = new Leases(async () => {
    if (isAway) throw new Error("away")
  })
  await expect(failing.for(100)).rejects.toThrow("away")
  isAway = false
  expect(await failing.for(100)).toBeGreaterThan(0)
  failing.close()
})
