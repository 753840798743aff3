/** A rewrite on SQLite by a thread of its own, as servers make it. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { census, countsOf } from "../../src/rewriter/census.ts"
import { UNPACED } from "../../src/rewriter/run.ts"
import { cluster, inThread, ownDir, SECRETS, secret, sqliteIn } from "./cluster.ts"

const SECRETS_STORED = 120
const ROWS = 7

async function filled() {
  const dir = ownDir()
  const store = sqliteIn(dir)
  const one = await cluster(store)
  await one.take("enable")
  await one.run()
  for (let n = 0; n < SECRETS_STORED; n++) {
    const name = `s-${n}`
    await one.registry.create(SECRETS, { namespace: "default", name }, secret(name, "kept"))
  }
  const path = join(dir, "state.db")
  const counts = async () =>
    new Map(
      countsOf(await census(store, one.keys.view))
        .entries()
        .filter(([, stored]) => stored > 0),
    )
  const get = async (name: string) =>
    (await one.registry.get(SECRETS, { namespace: "default", name }))?.object
  return { ...one, path, counts, get, batches: inThread(store, dir), store }
}

/** Small batches, and something between the first and the second. */
const between = (act: () => Promise<unknown>) => {
  let first = true
  return {
    ...UNPACED,
    rows: ROWS,
    async pause() {
      if (first) await act()
      first = false
    },
  }
}

test("everything comes under the new key, and reads what it was", async () => {
  const { take, run, batches, counts, get, keys } = await filled()
  const before = await get("s-0")
  await take("rotate-keys")
  expect(await run(undefined, batches)).toMatchObject({
    state: "finished",
    rewritten: SECRETS_STORED,
  })
  expect(await counts()).toEqual(new Map([[keys.view.record.keyring.writer, SECRETS_STORED]]))
  expect(await get("s-0")).toEqual(before)
})

test("what is written meanwhile is kept, and a verb between two batches fences the thread off", async () => {
  const { take, run, batches, counts, get, registry } = await filled()
  await take("rotate-keys")
  const meanwhile = async () => {
    const at = { namespace: "default", name: "meanwhile" }
    await registry.create(SECRETS, at, secret("meanwhile", "kept"))
    await take("abort")
  }
  const ended = await run(between(meanwhile), batches)
  expect(ended).toMatchObject({ state: "aborted" })
  // Of the first batch, and what was written.
  const under = (await counts()).get(ended?.target ?? "")
  expect(under).toBeGreaterThan(1)
  expect(under).toBeLessThanOrEqual(ROWS + 1)
  expect(await get("meanwhile")).toBeDefined()
  expect(await get("s-119")).toBeDefined()
})

test.each([
  ["that is not at its place any more is not made anew there", undefined],
  ["in the place of the one that is open is left as it is", "another"],
])("a database %s", async (_, lies) => {
  const { take, run, batches, path } = await filled()
  await take("rotate-keys")
  const away = `${path}-away`
  const moving = {
    begin() {
      renameSync(path, away)
      if (lies !== undefined) writeFileSync(path, lies)
      return {
        [Symbol.dispose]() {
          found = existsSync(path) ? readFileSync(path, "utf8") : undefined
          renameSync(away, path)
        },
      }
    },
    rows: ROWS,
    pause: async () => expect.fail("a batch was made"),
  }
  let found: string | undefined
  await expect(run(moving, batches)).rejects.toMatchObject({ code: "StoreUnavailable" })
  expect(found).toBe(lies)
  expect(await run(undefined, batches)).toMatchObject({
    state: "finished",
    rewritten: SECRETS_STORED,
  })
})

test("nothing is rewritten while the file is cleared, nor cleared while a batch is made", async () => {
  const { take, run, batches, store } = await filled()
  await take("rotate-keys")
  const seen: string[] = []
  let cleared: Promise<unknown> = Promise.resolve()
  const clearing = {
    ...UNPACED,
    rows: ROWS,
    async pause() {
      if (seen.length === 0) cleared = store.scrub().then(() => seen.push("cleared"))
      seen.push("batch")
    },
  }
  expect(await run(clearing, batches)).toMatchObject({ state: "finished" })
  await cleared
  expect(seen.slice(0, 3)).toEqual(["batch", "cleared", "batch"])
})
