/** Three servers on PostgreSQL, one of which is killed or stopped: another goes on with its work, its Node says that nothing is
 *  heard of it, and no rotation waits for it. */
import { afterAll, beforeAll, expect, test } from "vitest"
import { decodeOperation, type Operation } from "../../src/rotation/operation.ts"
import { apiClient } from "../harness/api.ts"
import { Postgres } from "../harness/postgres.ts"
import { until } from "../harness/process.ts"
import { missing, needs } from "../harness/programs.ts"
import { keyturn, kubectl, kubectlSaid, startServer, type TestServer } from "../harness/server.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const SECRETS_COUNT = 4000
/** From the death of a server until others take it for gone: design.md, Leases. */
const GONE_MS_MAX = 10_000
/** For the work itself, on a busy machine. */
const WORK_MS_MAX = 15_000

needs("kubectl", "postgres")
let postgres: Postgres
beforeAll(async () => {
  if ((await missing("postgres")) === undefined) postgres = await Postgres.start()
})
afterAll(() => postgres?.[Symbol.asyncDispose]())

let databases = 0

/** s1, s2 and s3 on a database of their own; `args` are the server's. */
async function startThree(args: Readonly<Record<string, readonly string[]>> = {}) {
  const database = `leases_${++databases}`
  const env = { KEYTURN_DATASTORE_ENDPOINT: postgres.url(database) }
  const stack = new AsyncDisposableStack()
  const start = async (name: string) => {
    const own = ["--secrets-encryption", "--token", "one-t0ken-for-all", "--node-name", name]
    return stack.use(await startServer({ env, args: [...own, ...(args[name] ?? [])] }))
  }
  try {
    const s1 = await start("s1")
    const [s2, s3] = await Promise.all([start("s2"), start("s3")])
    return { database, s1, s2, s3, [Symbol.asyncDispose]: () => stack.disposeAsync() }
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

async function operation(database: string): Promise<Operation | undefined> {
  const text = "SELECT value FROM keyturn_record WHERE name = 'operation'"
  const [[value] = []] = await postgres.query(database, text)
  return decodeOperation(value as Buffer)
}

/** The names of the keys under which anything of a Secret is stored (live, history, old values), and "" for plain text. */
async function keysInUse(database: string): Promise<string[]> {
  const rows = await postgres.query(
    database,
    `SELECT DISTINCT COALESCE(substring(encode(bytes, 'escape') FROM '^k8s:enc:\\w+:v1:([^:]+(:\\d\\d:[^:]+)?):'), '')
     FROM (SELECT name, value AS bytes FROM kine UNION ALL SELECT name, old_value FROM kine) AS stored
     WHERE name LIKE '/registry/secrets/%' AND bytes IS NOT NULL`,
  )
  return rows.map(([name]) => String(name))
}

const secret = (name: string, value: string) => ({
  kind: "Secret",
  apiVersion: "v1",
  metadata: { name },
  data: { value: Buffer.from(value).toString("base64") },
})

/** Returns what each holds. */
async function createSecrets(server: TestServer, count: number): Promise<Map<string, string>> {
  using client = apiClient(server.kubeconfig)
  const names = Array.from({ length: count }, (_, i) => `s${i}`)
  for (const name of names.splice(0, 1)) await client.call("POST", SECRETS, secret(name, name))
  await Promise.all(
    names.map(async (name) => {
      expect((await client.call("POST", SECRETS, secret(name, name))).status).toBe(201)
    }),
  )
  return new Map(Array.from({ length: count }, (_, i) => [`s${i}`, `s${i}`]))
}

async function contents(server: TestServer): Promise<Map<string, string>> {
  using client = apiClient(server.kubeconfig)
  const { status, body } = await client.call("GET", SECRETS)
  expect(status, body.slice(0, 500)).toBe(200)
  const items: ReturnType<typeof secret>[] = JSON.parse(body).items
  return new Map(
    items.map(({ metadata, data }) => [
      metadata.name,
      Buffer.from(data.value, "base64").toString(),
    ]),
  )
}

interface Status {
  readonly activekey: string
  readonly inactivekeys?: readonly string[]
  readonly servers: readonly { readonly name: string; readonly ready: boolean }[]
  readonly flagerrors?: readonly string[]
}

async function statusOf(server: TestServer): Promise<Status> {
  const { stdout, stderr } = await keyturn(server, ["secrets-encrypt", "status", "-o", "json"])
  expect(stdout, stderr).not.toBe("")
  return JSON.parse(stdout)
}

const readyNodes = async (server: TestServer): Promise<Record<string, string>> => {
  const said = await kubectlSaid(server, ["get", "nodes", "--no-headers"])
  const words = said
    .trimEnd()
    .split("\n")
    .map((line) => line.split(/ +/))
  return Object.fromEntries(words.map(([name = "", status = ""]) => [name, status]))
}

/** Every stored byte string is under the one writing key, and every server reads what was acknowledged. */
async function check(
  database: string,
  servers: readonly TestServer[],
  expected: ReadonlyMap<string, string>,
) {
  for (const server of servers) {
    const { activekey, inactivekeys = [] } = await statusOf(server)
    expect(inactivekeys).toEqual([])
    expect(await keysInUse(database)).toEqual([activekey.replace(/^\S+ /, "")])
    expect(await contents(server)).toEqual(expected)
  }
}

/** Begun on `server`, and now in the middle: values are under the old key and under the new one. */
async function beginRotation(database: string, server: TestServer): Promise<void> {
  const begun = await keyturn(server, ["secrets-encrypt", "rotate-keys", "--no-wait"])
  expect(begun).toMatchObject({ code: 0 })
  await until(async () => (await keysInUse(database)).length === 2, { intervalMs: 0 })
}

test("the holder of a rewrite is killed: another goes on within 10 s, and no rotation waits for the dead", {
  timeout: 180_000,
}, async () => {
  await using cluster = await startThree()
  const { database, s1, s2, s3 } = cluster
  const expected = await createSecrets(s2, SECRETS_COUNT)
  await beginRotation(database, s1)
  await s1.kill9()
  const killedMs = performance.now()
  expect(await operation(database)).toMatchObject({ state: "running", holder: "s1" })
  expect(await keysInUse(database)).toHaveLength(2)
  await until(async () => (await operation(database))?.holder !== "s1", { timeoutMs: 30_000 })
  const takenMs = performance.now() - killedMs
  await until(async () => (await operation(database))?.state === "finished", {
    timeoutMs: WORK_MS_MAX,
  })
  const finishedMs = performance.now() - killedMs
  console.info(
    `taken over after ${Math.round(takenMs)} ms, finished after ${Math.round(finishedMs)} ms`,
  )
  expect(takenMs).toBeLessThan(GONE_MS_MAX)
  expect((await operation(database))?.holder).toMatch(/^s[23]$/)
  await check(database, [s2, s3], expected)

  await until(async () => (await readyNodes(s2))["s1"] === "NotReady", { timeoutMs: GONE_MS_MAX })
  const notReadyMs = performance.now() - killedMs
  console.info(`NotReady after ${Math.round(notReadyMs)} ms`)
  expect(await readyNodes(s3)).toEqual({ s1: "NotReady", s2: "Ready", s3: "Ready" })
  const rotated = await keyturn(s3, ["secrets-encrypt", "rotate-keys"])
  expect(rotated).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })

  await kubectlSaid(s2, ["delete", "node", "s1"])
  const again = await keyturn(s2, ["secrets-encrypt", "rotate-keys"])
  expect(again).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })
  await check(database, [s2, s3], expected)
  const leases = "SELECT DISTINCT name FROM kine WHERE name LIKE '%/keyturn-s1' AND deleted = 1"
  await until(async () => (await postgres.query(database, leases)).length === 1)

  await kubectlSaid(s2, ["delete", "node", "s3"])
  await until(async () => "s3" in (await readyNodes(s2)), { timeoutMs: 5_000 })
  await s1.start()
  expect(await readyNodes(s2)).toEqual({ s1: "Ready", s2: "Ready", s3: "Ready" })
  await check(database, [s1, s2, s3], expected)
})

test("the holder of a rewrite is stopped, and wakes after another rotation: no harm", {
  timeout: 180_000,
}, async () => {
  await using cluster = await startThree()
  const { database, s1, s2, s3 } = cluster
  const expected = await createSecrets(s2, SECRETS_COUNT)
  await beginRotation(database, s1)
  process.kill(s1.pid, "SIGSTOP")
  const stoppedMs = performance.now()
  expect(await keysInUse(database)).toHaveLength(2)
  {
    using client = apiClient(s3.kubeconfig)
    for (const name of ["s1", `s${SECRETS_COUNT - 1}`]) {
      expect((await client.call("PUT", `${SECRETS}/${name}`, secret(name, "new"))).status).toBe(200)
      expected.set(name, "new")
    }
    expect((await client.call("DELETE", `${SECRETS}/s2`)).status).toBe(200)
    expected.delete("s2")
  }
  const finished = async () => (await operation(database))?.state === "finished"
  await until(finished, { timeoutMs: GONE_MS_MAX + WORK_MS_MAX })
  await until(async () => (await readyNodes(s2))["s1"] === "NotReady", { timeoutMs: GONE_MS_MAX })
  const rotated = await keyturn(s2, ["secrets-encrypt", "rotate-keys"])
  expect(rotated).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })
  await until(() => performance.now() - stoppedMs > 12_000)
  process.kill(s1.pid, "SIGCONT")
  await until(async () => (await readyNodes(s2))["s1"] === "Ready", { timeoutMs: 15_000 })
  await check(database, [s1, s2, s3], expected)
  expect(await operation(database)).toMatchObject({
    state: "finished",
    holder: "s2",
    unreadable: 0,
  })
})

test("status -o wide shows each server, and which flags differ; a server that ends gives its work away", {
  timeout: 120_000,
}, async () => {
  await using cluster = await startThree({ s3: ["--secrets-encryption-provider", "aesgcm"] })
  const { database, s1, s2, s3 } = cluster
  const wide = await keyturn(s1, ["secrets-encrypt", "status", "-o", "wide"])
  const text = await keyturn(s1, ["secrets-encrypt", "status"])
  expect(wide.stdout.startsWith(text.stdout)).toBe(true)
  const lines = wide.stdout.slice(text.stdout.length).split("\n")
  expect(lines).toEqual([
    expect.stringMatching(/^Server +Status +Stage +Hash +Epoch +Last Seen$/),
    expect.stringMatching(/^-+ +-+ +-+ +-+ +-+ +-+$/),
    expect.stringMatching(/^s1 +Ready +start +[0-9a-f]{12} +\d+ +0s ago$/),
    expect.stringMatching(/^s2 +Ready +start +[0-9a-f]{12} +\d+ +[0-3]s ago$/),
    expect.stringMatching(/^s3 +Ready +start +[0-9a-f]{12} +\d+ +[0-3]s ago$/),
    "",
    "Flags differ: --secrets-encryption-provider is aescbc on s1, s2 and aesgcm on s3",
    "",
  ])
  expect((await statusOf(s2)).servers).toMatchObject([
    { name: "s1", ready: true },
    { name: "s2", ready: true },
    { name: "s3", ready: true },
  ])

  const expected = await createSecrets(s2, SECRETS_COUNT)
  await beginRotation(database, s1)
  expect(await s1.stop()).toBe(0)
  const endedMs = performance.now()
  expect(await keysInUse(database)).toHaveLength(2)
  await until(async () => (await operation(database))?.state === "finished")
  console.info(`finished ${Math.round(performance.now() - endedMs)} ms after its holder ended`)
  await check(database, [s2, s3], expected)
  expect((await kubectl(s2, ["get", "node", "s1"])).code).toBe(0)
})
