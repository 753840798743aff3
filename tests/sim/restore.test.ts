/** What the simulator found of a table that is put back while servers run. */
import { expect, test } from "vitest"
import { openSqlStore } from "../../src/store/sql-store.ts"
import { create, key } from "../contract/store-helpers.ts"
import { type Ask, askAtOnce } from "./ask.ts"
import { MemoryEngine } from "./sql-engine.ts"
import { SqlTable } from "./sql-table.ts"

test("a read that waits while another table comes tells what was there when it was asked", async () => {
  const table = new SqlTable()
  const other = await openSqlStore(new MemoryEngine(table, askAtOnce), {})
  const isLooking = Promise.withResolvers<void>()
  const hasRead = Promise.withResolvers<void>()
  const mayGoOn = Promise.withResolvers<void>()
  let isBack = false
  const ask: Ask = async (what, steps) => {
    if (isBack && what.startsWith("holes")) {
      isLooking.resolve()
      await mayGoOn.promise
    }
    const answer = await askAtOnce(what, steps)
    if (what === `list ${key("new")}`) setImmediate(hasRead.resolve)
    return answer
  }
  const store = await openSqlStore(new MemoryEngine(table, ask), {})
  await create(store, "a", "one")
  const putBack = table.snapshot()
  await create(store, "b", "two")
  await store.revision() // so that the store has followed up to there
  isBack = true
  putBack()
  const first = store.list({ prefix: key("a") })
  await isLooking.promise
  await create(other, "new", "x")
  const reading = store.list({ prefix: key("new") })
  await hasRead.promise
  mayGoOn.resolve()
  expect((await reading).entries[0]?.value.toString()).toBe("x")
  expect((await first).entries[0]?.value.toString()).toBe("one")
  await store.close()
  await other.close()
})
