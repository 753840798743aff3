/** A rotation on SQLite makes no event and no revision: many watches over many Secrets see nothing of it. */
import { DatabaseSync } from "node:sqlite"
import { expect, test } from "vitest"
import { apiClient } from "../harness/api.ts"
import { until } from "../harness/process.ts"
import { keyturn, startServer } from "../harness/server.ts"
import { databaseOf, fillSqlite, TEMPLATE } from "../harness/sqlite-fill.ts"

const WATCHES = 50
const SECRETS = 100_000
const path = "/api/v1/namespaces/default/secrets"

test(`${WATCHES} watches over ${SECRETS} Secrets see nothing of a rotation`, {
  timeout: 600_000,
}, async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  using api = apiClient(server.kubeconfig, { maxSockets: WATCHES + 8 })
  expect((await api.call("POST", path, TEMPLATE)).status).toBe(201)
  await server.stop()
  fillSqlite(server.dataDir, SECRETS)
  await server.restart()

  const revision = JSON.parse((await api.call("GET", `${path}?limit=1`)).body).metadata
    .resourceVersion
  const before = revisionsIn(server.dataDir)
  const stop = new AbortController()
  const seen: string[][] = Array.from({ length: WATCHES }, () => [])
  const query = `watch=true&resourceVersion=${revision}&allowWatchBookmarks=false`
  const watching = seen.map(async (events) => {
    for await (const line of api.lines(`${path}?${query}`, stop.signal)) {
      const { type, object } = JSON.parse(line)
      events.push(`${type} ${object.metadata.name}`)
    }
  })
  const patience = { timeoutMs: 200_000 }
  const { stderr } = await keyturn(server, ["secrets-encrypt", "rotate-keys"], patience)
  expect(stderr).toContain(`rewrote ${SECRETS} stored values`)
  expect(revisionsIn(server.dataDir)).toEqual(before)

  // The first thing that each of them hears.
  const last = { ...TEMPLATE, metadata: { name: "after" } }
  expect((await api.call("POST", path, last)).status).toBe(201)
  await until(() => seen.every((events) => events.length > 0), { what: "an event in each watch" })
  expect(new Set(seen.flat())).toEqual(new Set(["ADDED after"]))
  stop.abort()
  await Promise.all(watching)
})

/** Of the Secrets: how many, the sum and the highest of their revisions. */
function revisionsIn(dataDir: string): object {
  using database = new DatabaseSync(databaseOf(dataDir), { readOnly: true })
  const sql = "SELECT count(*), sum(id), max(id) FROM kine WHERE name LIKE '/registry/secrets/%'"
  return { ...database.prepare(sql).get() }
}
