import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, expect, test } from "vitest"
import { filesBelow } from "../harness/stored.ts"
import { openSqlite } from "../../src/store/sqlite.ts"
import type { Store } from "../../src/store/store.ts"
import { type Bootstrap, openKeyring } from "../../src/cluster/bootstrap.ts"
import { dataDirPaths, openDataDir } from "../../src/cluster/data-dir.ts"
import { makeAuthorities } from "../../src/cluster/issue.ts"
import { changeToken, createRecoveryKey } from "../../src/cluster/unlock.ts"

let dataDir: string
let database: string
let store: Store
beforeEach(() => {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-bootstrap-"))
  dataDir = join(folder, "data")
  database = join(folder, "state.db")
  openDataDir(dataDir, { now: new Date() }).release()
  store = openSqlite({ path: database })
})
afterEach(async () => {
  await store.close()
  rmSync(join(dataDir, ".."), { recursive: true })
})

const open = (given: Partial<Bootstrap> = {}) =>
  openKeyring({
    store,
    server: "n1",
    paths: dataDirPaths(dataDir),
    token: null,
    recoveryKey: null,
    configuration: null,
    firstKey: "aescbc",
    now: () => new Date(),
    ...given,
  })

test("a keyring that is gone while its fence stands is told as lost, and nothing is written", async () => {
  await open()
  using db = new DatabaseSync(database)
  db.exec("DELETE FROM keyturn_record WHERE name = 'keyring'")
  const fence = await store.fence()
  const files = filesBelow(dataDir)
  await expect(open({ token: "another" })).rejects.toMatchObject({
    code: "RecordCorrupt",
    message: "the datastore has a fence and no keyring: the keyring record was removed",
  })
  expect(filesBelow(dataDir)).toEqual(files)
  expect(await store.fence()).toBe(fence)
  expect(await store.record("keyring")).toBeUndefined()
})

test("recovery leaves nothing in the files of the datastore that the lost token opens, or says so", async () => {
  const { keys } = await open()
  const { recoveryKey } = await createRecoveryKey(keys, { now: new Date() })
  const recordNow = async () => (await store.record("keyring"))?.value.subarray(-200) ?? ""
  const left = (record: Buffer | string) =>
    [database, `${database}-wal`].filter((file) => readFileSync(file).includes(record))
  const openAs = (token: string) => open({ token, recoveryKey })
  const first = await recordNow()
  expect(await openAs("one")).toMatchObject({ how: "recovered" })
  expect(left(first)).toEqual([])

  const second = await recordNow()
  using reader = new DatabaseSync(database, { readOnly: true })
  reader.exec("BEGIN; SELECT count(*) FROM kine")
  await expect(openAs("two")).rejects.toMatchObject({
    code: "StoreUnavailable",
    message: expect.stringContaining("but the old one still opens copies of the datastore"),
  })
  reader.exec("COMMIT")
  expect(left(second)).not.toEqual([])
  expect(await openAs("two")).toMatchObject({ how: "joined" })
})

test("recovery with a token of before in the data directory never makes that one hold again", async () => {
  const { keys } = await open()
  const paths = dataDirPaths(dataDir)
  const { recoveryKey } = await createRecoveryKey(keys, { now: new Date() })
  const revoked = readFileSync(paths.token, "utf8")
  await changeToken(paths, keys, { password: "the new one", now: new Date() })
  rmSync(paths.nextToken)
  await expect(open()).rejects.toMatchObject({ code: "SlotDidNotOpen" })
  expect(await open({ recoveryKey })).toMatchObject({ how: "recovered" })
  const by = { user: "--recovery-key-file", server: "n1" }
  expect((await keys.history()).at(-1)).toMatchObject({ verb: "token rotate", ...by })
  expect(readFileSync(paths.token, "utf8")).not.toBe(revoked)
  await expect(open({ token: revoked.trim() })).rejects.toMatchObject({ code: "SlotDidNotOpen" })
})

test("a data directory of before begins nothing anew on an empty datastore", async () => {
  await open()
  const paths = dataDirPaths(dataDir)
  const pair = await makeAuthorities(new Date())
  writeFileSync(paths.serverCa.cert, pair.server.cert)
  writeFileSync(paths.serverCa.key, pair.server.key)
  writeFileSync(paths.clientCa.cert, pair.client.cert)
  writeFileSync(paths.clientCa.key, pair.client.key)
  const before = filesBelow(paths.server)
  const empty = openSqlite({ path: join(dataDir, "..", "empty.db") })
  await expect(open({ store: empty })).rejects.toMatchObject({ code: "DatastoreEmpty" })
  expect(await empty.record("keyring")).toBeUndefined()
  expect(filesBelow(paths.server)).toEqual(before)
  await empty.close()
})
