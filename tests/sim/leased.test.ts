/** Entries with a time to live that a server finds when it starts. */
import { expect, test, vi } from "vitest"
import { KnownError } from "../../src/errors.ts"
import { openSqlStore } from "../../src/store/sql-store.ts"
import { askAtOnce } from "./ask.ts"
import { MemoryEngine } from "./sql-engine.ts"
import { SqlTable } from "./sql-table.ts"

test("they are asked for again where the database was away, until they are known", async () => {
  const table = new SqlTable()
  const before = await openSqlStore(new MemoryEngine(table, askAtOnce), {})
  const leased = { key: "/registry/events/a", value: Buffer.from("x"), fence: undefined }
  await before.create({ ...leased, ttlSeconds: 60 })
  await before.close()

  const engine = new MemoryEngine(table, askAtOnce)
  const asked = vi
    .spyOn(engine, "leased")
    .mockRejectedValueOnce(new KnownError("StoreUnavailable", "it is away"))
  const warn = vi.fn()
  const schedule = vi.fn(() => () => {})
  const store = await openSqlStore(engine, { warn, schedule })
  await vi.waitUntil(() => schedule.mock.calls.length > 0, { timeout: 5_000 })
  expect(schedule).toHaveBeenCalledTimes(1)
  expect(asked).toHaveBeenCalledTimes(2)
  expect(warn.mock.calls.map(([message]) => message)).toEqual([
    "entries with a time to live could not be listed yet",
  ])
  await store.close()
})
