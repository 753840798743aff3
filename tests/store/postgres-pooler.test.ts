/** Stores on PostgreSQL that reach it through a pooler which gives a connection to each transaction alone: LISTEN hears nothing
 *  there, so what another server changed is found by looking. */
import { chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { openPostgres } from "../../src/store/postgres.ts"
import { bytes, create, key, live, ROOT, setFence, watched } from "../contract/store-helpers.ts"
import { freePort } from "../harness/ports.ts"
import { postgresUser } from "../harness/postgres.ts"
import { PostgresStores } from "../harness/postgres-stores.ts"
import { Program, until } from "../harness/process.ts"
import { needs, pgbouncer } from "../harness/programs.ts"

needs("pgbouncer")
const pg = new PostgresStores()

/** A pooler in front of the test's server, with two connections to it. */
async function startPooler() {
  const { port: to, user, password } = pg.server.address(pg.database)
  const port = await freePort()
  const folder = mkdtempSync(join(tmpdir(), "keyturn-pooler-"))
  const own = await postgresUser()
  const file = join(folder, "pgbouncer.ini")
  writeFileSync(
    file,
    `[databases]
* = host=127.0.0.1 port=${to} user=${user} password=${password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
`,
    { mode: 0o600 },
  )
  if (own !== undefined) for (const path of [folder, file]) chownSync(path, own.uid, own.gid)
  const program = new Program(pgbouncer(), [file], own ?? {})
  await until(() => program.stderr.includes("process up") || !program.isRunning)
  if (!program.isRunning) throw new Error(program.stderr)
  return {
    address: { ...pg.server.address(pg.database), port },
    async [Symbol.asyncDispose]() {
      await program.end("SIGTERM")
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

test("two servers behind a transaction pooler write, keep the fence, and find each other's changes", async () => {
  await pg.open() // makes the database, of which a pooler would say that it is not there
  await using pooler = await startPooler()
  const open = () => openPostgres({ address: pooler.address })
  const [one, other] = [await open(), await open()]
  try {
    await setFence(one, "f1")
    const watching = watched(other, { after: await other.revision(), count: 2 })
    const made = [await create(one, "a", "x"), await create(one, "b", "y")]
    expect((await watching).map(({ revision }) => revision)).toEqual(made)
    expect(await live(other)).toEqual({ a: "x", b: "y" })

    const wakes = other.watchRecords(AbortSignal.timeout(20_000))[Symbol.asyncIterator]()
    const woken = wakes.next()
    const put = [{ name: "operation" as const, value: bytes("o") }]
    const fence = { expected: "f1", next: "f2" }
    await one.step({ compare: [{ name: "operation", version: null }], put, fence })
    expect((await woken).done).toBe(false)
    const late = { key: key("late"), value: bytes("z"), fence: "f1" }
    expect(await other.create(late)).toEqual({ outcome: "fenced" })
    const writes = Array.from({ length: 40 }, (_, n) => create(n % 2 ? one : other, `n${n}`, "x"))
    const revisions = await Promise.all(writes)
    expect(new Set(revisions).size).toBe(40)
    expect((await one.list({ prefix: ROOT })).entries).toHaveLength(42)
  } finally {
    await Promise.all([one.close(), other.close()])
  }
})
