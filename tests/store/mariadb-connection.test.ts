/** The connections to MariaDB: how long they stay. */
import { afterEach, expect, test, vi } from "vitest"
import { Connections } from "../../src/store/mysql-connection.ts"
import { NO_TLS_FILES } from "../../src/store/tls-files.ts"
import { MariadbStores } from "../harness/mariadb-stores.ts"

const mariadb = new MariadbStores()
afterEach(() => void vi.useRealTimers())

test("those that no statement came to for a minute end, and one that is in use does not", async () => {
  const address = mariadb.server.address(mariadb.database)
  const db = await Connections.open(address, { files: NO_TLS_FILES, writes: [] })
  const ids = async () => {
    const rows = await mariadb.server.query(
      "",
      `SELECT id FROM information_schema.processlist WHERE db = '${mariadb.database}'`,
    )
    return new Set(rows.map(([id]) => id))
  }
  const ask = async () => (await db.query("SELECT CONNECTION_ID()"))[0]?.[0]
  const polled = { timeout: 10_000, interval: 0 } // by which a poll moves the faked clock on
  await expect.poll(ids, polled).toEqual(new Set())
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
  try {
    const asked = await Promise.all(Array.from({ length: 4 }, ask))
    expect(await ids()).toEqual(new Set(asked))
    vi.advanceTimersByTime(59_000)
    const used = await ask()
    expect(await ids()).toEqual(new Set(asked))
    vi.advanceTimersByTime(1_000)
    await expect.poll(ids, polled).toEqual(new Set([used]))
    vi.advanceTimersByTime(58_999)
    expect(await ask()).toBe(used)
    vi.advanceTimersByTime(60_000)
    await expect.poll(ids, polled).toEqual(new Set())
    expect(await ask()).not.toBe(used)
  } finally {
    vi.useRealTimers()
    await db.close()
  }
})

test("each that ends takes leave, so that the server's count of lost clients is that of failures", async () => {
  const aborted = async () =>
    (await mariadb.server.query("", "SHOW GLOBAL STATUS LIKE 'Aborted_c%'")).toString()
  const address = mariadb.server.address(mariadb.database)
  await mariadb.server.query("", `CREATE DATABASE ${mariadb.database}`)
  const before = await aborted()
  const db = await Connections.open(address, { files: NO_TLS_FILES, writes: [] })
  await Promise.all(Array.from({ length: 4 }, () => db.query("SELECT 1")))
  const single = await db.single()
  single.end()
  await db.close()
  expect(await aborted()).toBe(before)
})

test("one that takes leave of a server that stands still ends all the same", async () => {
  const address = mariadb.server.address(mariadb.database)
  const db = await Connections.open(address, { files: NO_TLS_FILES, writes: [] })
  const single = await db.single()
  const [pid = 0] = await mariadb.server.processes()
  process.kill(pid, "SIGSTOP")
  try {
    single.end()
    await single.ended
  } finally {
    process.kill(pid, "SIGCONT")
  }
  await db.close()
})
