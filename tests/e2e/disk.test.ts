/** A sick disk under a rotation: full, read-only, not to be synced, and a write-ahead log whose end was never whole. Nothing is lost
 *  or half written, everybody is told, and it goes on by itself. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { apiClient } from "../harness/api.ts"
import { atRest, lostSince, notUnderTheWriter, wrongAtRest } from "../harness/at-rest.ts"
import { type Fault, sickDisk, TORN } from "../harness/disk-faults.ts"
import { sqliteDatastore } from "../harness/engines.ts"
import { Program, run, until } from "../harness/process.ts"
import { needs } from "../harness/programs.ts"
import { KEYTURN, keyturn, TestServer } from "../harness/server.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
/** Rewritten in several batches: there is a middle. */
const COUNT = 2_500
const folder = mkdtempSync(join(tmpdir(), "keyturn-disk-"))
afterAll(() => rmSync(folder, { recursive: true }))

const secret = (name: string, value: string) => ({
  kind: "Secret",
  apiVersion: "v1",
  metadata: { name },
  data: { of: Buffer.from(value).toString("base64") },
})

async function call(server: TestServer, method: string, path: string, body?: object) {
  using client = apiClient(server.kubeconfig)
  return await client.call(method, path, body)
}

async function fill(server: TestServer): Promise<Map<string, string>> {
  using client = apiClient(server.kubeconfig)
  const values = new Map(Array.from({ length: COUNT }, (_, n) => [`s${n}`, `${n}`]))
  await Promise.all(
    Array.from(values, async ([name, value]) => {
      const { status, body } = await client.call("POST", SECRETS, secret(name, value))
      expect(status, body).toBe(201)
    }),
  )
  return values
}

async function readAll(server: TestServer): Promise<Map<string, string>> {
  const { status, body } = await call(server, "GET", SECRETS)
  expect(status, body.slice(0, 500)).toBe(200)
  const items: ReturnType<typeof secret>[] = JSON.parse(body).items
  return new Map(
    items.map(({ metadata, data }) => [metadata.name, Buffer.from(data.of, "base64").toString()]),
  )
}

interface OperationSeen {
  readonly state: string
  readonly trouble?: string
}

test("a server whose log cannot be written serves all the same", async () => {
  const own = [
    "--config",
    "/dev/null",
    "--data-dir",
    join(folder, "full"),
    "--https-listen-port",
    "0",
  ]
  const command = ["-c", 'exec "$0" server "$@" 2>/dev/full', KEYTURN, ...own]
  await using server = new Program("sh", command)
  const ready = await until(() => /^keyturn is ready: (\S+)\n/m.exec(server.stdout))
  expect(ready).not.toBeNull()
  using client = apiClient(join(folder, "full/keyturn.yaml"))
  expect(await client.call("GET", "/readyz")).toMatchObject({ status: 200 })
  expect(await client.call("POST", SECRETS, { kind: "nothing" })).toMatchObject({ status: 400 })
  expect(await client.call("GET", "/readyz")).toMatchObject({ status: 200 })
  expect(await server.end("SIGTERM")).toBe(0)
})

const operationOf = async (server: TestServer): Promise<OperationSeen> =>
  JSON.parse((await call(server, "GET", "/v1-keyturn/encrypt/operation")).body)

const look = ({ dataDir }: TestServer) =>
  atRest(sqliteDatastore(dataDir), readFileSync(dataDirPaths(dataDir).token, "utf8").trim())

/** The server stops in the middle of the rewriting of a new rotation. */
async function rotateToTheMiddle(server: TestServer): Promise<void> {
  const rotate = { stage: "rotate_keys" }
  const asked = call(server, "PUT", "/v1-keyturn/encrypt/config", rotate)
  const state = async () => (await run("ps", ["-o", "stat=", "-p", `${server.pid}`])).stdout
  await until(async () => (await state()).startsWith("T"), { timeoutMs: 30_000 })
  asked.catch(() => {}) // whether it was answered before does not matter
}

async function expectDone(server: TestServer, values: ReadonlyMap<string, string>) {
  await until(async () => (await operationOf(server)).state === "finished", { timeoutMs: 60_000 })
  expect(await readAll(server)).toEqual(values)
  const now = await look(server)
  expect(wrongAtRest(now)).toEqual([])
  expect(notUnderTheWriter(now)).toEqual([])
  return now
}

/** What a write is told meanwhile, and what stands still for which reason. */
const TOLD: Readonly<Record<Fault, { readonly status: number[]; readonly trouble: RegExp }>> = {
  "no space": { status: [507], trouble: /state\.db: database or disk is full/ },
  "read-only": { status: [503], trouble: /state\.db: disk I\/O error \(SQLite 778\)/ },
  "no sync": { status: [503, 504], trouble: /state\.db: .*disk I\/O error \(SQLite 1034\)/ },
}

describe("a fault that comes and goes", () => {
  needs("fiu-run")
  test.each(Object.keys(TOLD) as Fault[])(
    "%s in the middle of a rotation: reads go on, writes are refused with the reason, and it ends by itself",
    { timeout: 180_000 },
    async (fault) => {
      const disk = await sickDisk(folder)
      await using server = new TestServer({
        args: ["--secrets-encryption"],
        env: disk.env,
      })
      await server.start([], "batch:after=SIGSTOP")
      const values = await fill(server)
      const before = await look(server)
      await rotateToTheMiddle(server)
      const begun = disk.begin(server, fault)
      process.kill(server.pid, "SIGCONT")
      await begun
      const seen = await until(
        async () => {
          const operation = await operationOf(server)
          if (operation.state !== "running") throw new Error("the fault came too late")
          return operation.trouble
        },
        { timeoutMs: 30_000 },
      )
      expect(seen).toMatch(TOLD[fault].trouble)
      const status = await keyturn(server, ["secrets-encrypt", "status"])
      expect(status.stderr).toContain("rotate-keys stands still: ")
      expect(await readAll(server)).toEqual(values)
      const refused = await call(server, "PUT", `${SECRETS}/s0`, secret("s0", "refused"))
      expect(TOLD[fault].status, refused.body).toContain(refused.status)
      expect(await readAll(server)).toEqual(values)
      await disk.end(server, fault)
      expect(lostSince(before, await expectDone(server, values))).toEqual([])
      const { status: written } = await call(server, "PUT", `${SECRETS}/s0`, secret("s0", "new"))
      expect(written).toBe(200)
      await server.kill9()
      await server.start()
      expect(await readAll(server)).toEqual(values.set("s0", "new"))
    },
  )
})

test("a write-ahead log that is torn in the middle of a rotation: the next start goes on by itself", {
  timeout: 180_000,
}, async () => {
  await using server = new TestServer({ args: ["--secrets-encryption"] })
  await server.start()
  const values = await fill(server)
  for (const [how, tear] of Object.entries(TORN)) {
    const before = await look(server)
    await server.kill9()
    await server.start([], "batch:after@2")
    const rotate = { stage: "rotate_keys" }
    await call(server, "PUT", "/v1-keyturn/encrypt/config", rotate).catch(() => {})
    expect(await server.ended(), how).toBe(137)
    tear(dataDirPaths(server.dataDir).state)
    await server.start()
    expect(lostSince(before, await expectDone(server, values)), how).toEqual([])
  }
})
