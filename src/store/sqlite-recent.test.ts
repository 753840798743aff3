import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { openSqlite } from "./sqlite.ts"

const folder = mkdtempSync(join(tmpdir(), "keyturn-recent-"))
const store = openSqlite({ path: join(folder, "state.db") })
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true })
})

const key = "/registry/secrets/a/b"
const now = async () => (await store.get(key))?.value.toString()

test("what was read before is never what is answered after a change, in place or not", async () => {
  await store.step({
    compare: [],
    put: [{ name: "keyring", value: Buffer.from("k") }],
    fence: { expected: null, next: "f" },
  })
  const made = await store.create({ key, fence: "f", value: Buffer.from("one") })
  if (made.outcome !== "done") throw new Error(made.outcome)
  const { revision } = made
  expect([await now(), await now()]).toEqual(["one", "one"])
  expect(await store.get(key)).toBe(await store.get(key))

  const replacement = {
    key,
    column: "value",
    expected: Buffer.from("one"),
    replacement: Buffer.from("eno"),
  } as const
  await store.rewrite("f", [{ revision, ...replacement }])
  expect(await now()).toBe("eno")

  const changed = await store.update({
    key,
    fence: "f",
    value: Buffer.from("two"),
    expected: revision,
  })
  expect(await now()).toBe("two")
  expect((await store.get(key, revision))?.value.toString()).toBe("eno")
  if (changed.outcome !== "done") throw new Error(changed.outcome)

  await store.delete({ key, fence: "f", expected: changed.revision })
  expect(await now()).toBeUndefined()
})
