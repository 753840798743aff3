/** What earlier keyrings left is cleared by whoever changed the keyring, or else by the rounds of a server; through the real keyring and SQLite. */
import { expect, test } from "vitest"
import { newClusterKey } from "../../src/keyring/record.ts"
import { overdueScrub } from "../../src/server/overdue-scrub.ts"
import { cluster } from "./cluster.ts"

/** `during` runs once, in the next clearing. */
async function counted() {
  const { store, keys } = await cluster()
  const scrub = store.scrub.bind(store)
  const seen = { scrubs: 0, during: async () => {} }
  store.scrub = async (of) => {
    const { during } = seen
    seen.scrubs += 1
    seen.during = async () => {}
    await during()
    await scrub(of)
  }
  const change = async () => {
    await keys.change("change-token", () => ({ clusterKey: newClusterKey(), scrubs: true }))
  }
  return { keys, seen, change, round: overdueScrub(keys) }
}

test("what is due at the start is cleared at once, and once", async () => {
  const { seen, change, round } = await counted()
  await change()
  await round()
  expect(seen.scrubs).toBe(1)
  await round()
  await round()
  expect(seen.scrubs).toBe(1)
})

test("what a change of now makes due is left to whoever made it for a round", async () => {
  const { keys, seen, change, round } = await counted()
  await round()
  await change()
  await round()
  expect(seen.scrubs).toBe(0)
  await change() // another one, whose own time begins
  await round()
  expect(seen.scrubs).toBe(0)
  await round()
  expect(seen.scrubs).toBe(1)
  expect(await keys.scrubDue()).toBeUndefined()
})

test("a change while it is cleared makes it due anew", async () => {
  const { keys, seen, change } = await counted()
  await change()
  seen.during = change
  await keys.scrub()
  expect(await keys.scrubDue()).toBeDefined()
  await keys.scrub()
  expect(await keys.scrubDue()).toBeUndefined()
})

test("what failed stays due", async () => {
  const { keys, seen, change, round } = await counted()
  await change()
  seen.during = () => Promise.reject(new Error("another process reads it"))
  await expect(round()).rejects.toThrow("another process reads it")
  expect(await keys.scrubDue()).toBeDefined()
  await round()
  expect(await keys.scrubDue()).toBeUndefined()
})
