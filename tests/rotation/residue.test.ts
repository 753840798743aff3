/** What lies in the files after a rotation and after `enable`, in a database that was used: values of all sizes updated, deleted and
 *  compacted, with other kinds between them, so that rows move between pages and leave copies behind. */
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { expect, test } from "vitest"
import { random } from "../harness/random.ts"
import { filesBelow } from "../harness/stored.ts"
import type { Replacement } from "../../src/store/store.ts"
import { cluster, ownDir, secret, SECRETS, sqliteIn } from "./cluster.ts"

const PLANTED = "PLANTED!"
/** Small, of a few pages, and of many overflow pages. */
const LENGTHS = [1, 40, 200, 4_000]

type Cluster = Awaited<ReturnType<typeof cluster>>

async function use({ store, registry }: Cluster, seed: number): Promise<void> {
  const next = random(seed)
  const pick = (limit: number) => Math.floor(next() * limit)
  for (let turn = 0; turn < 1_200; turn++) {
    const name = `s${pick(150)}`
    const length = turn % 50 === 0 ? LENGTHS.length : 3
    const object = secret(name, PLANTED.repeat(LENGTHS[pick(length)] ?? 1))
    const stored = await registry.get(SECRETS, { namespace: "default", name })
    if (stored === undefined) await registry.create(SECRETS, { namespace: "default", name }, object)
    else if (pick(4) === 0) await registry.remove(stored)
    else await registry.replace(stored, object)
    const other = { key: `/registry/events/default/${seed}-${turn}`, fence: undefined }
    if (turn % 7 === 0) await store.create({ ...other, value: Buffer.alloc(pick(3_000), "e") })
    if (turn % 300 === 299) await store.compact((await store.revision()) - 100)
  }
}

const found = (dir: string, searched: string): number =>
  [...filesBelow(dir).values()].reduce(
    (sum, bytes) => sum + bytes.toString("latin1").split(searched).length - 1,
    0,
  )

test("nothing of the old key or of plaintext is left in any file", {
  timeout: 120_000,
}, async () => {
  const dir = ownDir()
  const all = await cluster(sqliteIn(dir))
  const { keys, take, run } = all
  await use(all, 1)
  expect(found(dir, PLANTED)).toBeGreaterThan(0)
  await take("enable")
  expect((await run())?.unreadable).toBe(0)
  expect(found(dir, PLANTED)).toBe(0)

  // The name of the second key is longer than the first one's; that of the third is as long as the second one's.
  for (const seed of [2, 3]) {
    await use(all, seed)
    const old = keys.view.provider(keys.view.record.keyring.writer).prefix.toString()
    expect(found(dir, old)).toBeGreaterThan(0)
    await take("rotate-keys")
    expect((await run())?.retired).toHaveLength(1)
    expect(found(dir, old)).toBe(0)
    expect(found(dir, PLANTED)).toBe(0)
  }
})

test("what is said of a value under a lost key, and stored, leaves nothing of any other key", async () => {
  const dir = ownDir()
  const { store, keys, registry, take, run } = await cluster(sqliteIn(dir))
  for (const name of ["a", "b"])
    await registry.create(SECRETS, { namespace: "default", name }, secret(name, "of"))
  await take("enable")
  await run()
  const [row] = (await store.rows({ cursor: "", limit: 1 })).rows
  const { fence } = keys.view.record
  const replacement = Buffer.from(`k8s:enc:aescbc:v1:lost:${"x".repeat(64)}`)
  const lost = { ...row, column: "value" as const, expected: row?.value, replacement }
  await store.rewrite(fence, [lost as Replacement])
  await take("rotate-keys")
  const operation = await run()
  expect(operation).toMatchObject({ retired: ["aescbckey"], unreadable: 1 })
  expect(operation?.unreadableNames[0]?.why).toContain('key "lost"')
  expect(found(dir, "k8s:enc:aescbc:v1:aescbckey:")).toBe(0)
})

/** Text in pages that are free, as deleting leaves it there without secure_delete. */
function plantInFreePages(dir: string): void {
  using db = new DatabaseSync(join(dir, "state.db"))
  db.exec("PRAGMA secure_delete = OFF; CREATE TABLE planted (text)")
  const insert = db.prepare("INSERT INTO planted VALUES (?)")
  for (let row = 0; row < 100; row++) insert.run(PLANTED.repeat(1_000))
  db.exec("DROP TABLE planted; PRAGMA wal_checkpoint(TRUNCATE)")
}

test("--vacuum removes what an earlier writer without secure_delete left in free pages", async () => {
  const dir = ownDir()
  const { registry, take, run } = await cluster(sqliteIn(dir))
  const name = "s"
  await registry.create(SECRETS, { namespace: "default", name }, secret(name, "of"))
  await take("enable")
  await run()
  for (const verb of ["rotate-keys", "reencrypt"] as const) {
    plantInFreePages(dir)
    await take("reencrypt", { force: true })
    await run()
    expect(found(dir, PLANTED), verb).toBeGreaterThan(0)
    await take(verb, { vacuum: true })
    expect(await run(), verb).toMatchObject({ state: "finished", kind: verb })
    expect(found(dir, PLANTED), verb).toBe(0)
  }
})
