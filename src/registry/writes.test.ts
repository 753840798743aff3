import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, test } from "vitest"
import { afterSteps } from "../../tests/harness/after-steps.ts"
import { KnownError } from "../errors.ts"
import { openSqlite } from "../store/sqlite.ts"
import type { Store } from "../store/store.ts"
import { BLOCK, Writes } from "./writes.ts"

let dir: string
let store: Store
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "keyturn-writes-"))
  store = openSqlite({ path: join(dir, "state.db"), warn: () => {} })
})
afterEach(async () => {
  await store.close()
  rmSync(dir, { recursive: true })
})

const counted = async (key = "k") => (await new Writes(store).read()).get(key)

/** Takes seals as the registry does. */
async function seal(writes: Writes, times: number): Promise<void> {
  for (let n = 0; n < times; n++) while (!writes.take("k")) await writes.reserve("k")
}

test("servers that seal at once count never too few, and at most a block each too many", async () => {
  const servers = Array.from({ length: 4 }, () => new Writes(store))
  await Promise.all(servers.map((writes) => seal(writes, 2600)))
  // The blocks that are on their way still count.
  await Promise.all(servers.map((writes) => writes.reserve("k")))
  const { clients = 0 } = (await counted()) ?? {}
  expect(clients).toBeGreaterThanOrEqual(4 * 2600)
  expect(clients).toBeLessThanOrEqual(4 * (2600 + 2 * BLOCK))
})

test("a seal waits for the first block alone: the next is there before it is used up", async () => {
  const writes = new Writes(store)
  let waits = 0
  for (let n = 0; n < 5 * BLOCK; n++) {
    while (!writes.take("k")) {
      waits++
      await writes.reserve("k")
    }
    if (n % 100 === 0) await new Promise(setImmediate)
  }
  expect(waits).toBe(1)
})

test("no seal is had where it cannot be counted, and its count is not lost where nobody knows that it is", async () => {
  let fails: "no" | "unknown" | "down" = "down"
  const hooked = afterSteps(store, async () => {
    const failing = fails
    fails = "no"
    if (failing === "unknown") throw new KnownError("OutcomeUnknown", "the answer was lost")
    if (failing === "down") throw new KnownError("StoreUnavailable", "down")
  })
  const writes = new Writes(hooked)
  await expect(writes.reserve("k")).rejects.toMatchObject({ code: "StoreUnavailable" })
  expect(writes.take("k")).toBe(false)
  fails = "unknown"
  await writes.reserve("k")
  expect(writes.take("k")).toBe(true)
  expect(await counted()).toEqual({ clients: 3 * BLOCK, rewriting: 0 })
})

test("a record of a backup takes nothing from what was counted since", async () => {
  const writes = new Writes(store)
  await writes.add("k", { clients: 10 })
  const old = await store.record("usage")
  await writes.add("k", { clients: 10 })
  const version = (await store.record("usage"))?.version ?? ""
  const put = [{ name: "usage" as const, value: old?.value ?? Buffer.of() }]
  await store.step({ compare: [{ name: "usage", version }], put })
  await writes.add("k", { rewriting: 1 })
  expect(await counted()).toEqual({ clients: 20, rewriting: 1 })
})
