/** Copies of the embedded datastore: saved while it is written, put back whole, under the keyring of their time. */
import {
  copyFileSync,
  existsSync,
  lstatSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { ERRORS } from "../../src/errors.ts"
import { apiClient } from "../harness/api.ts"
import { until } from "../harness/process.ts"
import { keyturn, startServer, type TestServer } from "../harness/server.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"

async function said(server: TestServer, ...argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await keyturn(server, argv)
  expect({ code, stderr }, argv.join(" ")).toEqual({ code: 0, stderr: expect.any(String) })
  return stdout.trim()
}

async function write(server: TestServer, name: string): Promise<void> {
  using api = apiClient(server.kubeconfig)
  const data = { of: Buffer.from(name).toString("base64") }
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name }, data }
  expect(await api.call("POST", SECRETS, secret)).toMatchObject({ status: 201 })
}

async function names(server: TestServer): Promise<string[]> {
  using api = apiClient(server.kubeconfig)
  const { body } = await api.call("GET", SECRETS)
  const { items } = JSON.parse(body) as { items: { metadata: { name: string } }[] }
  return items.map(({ metadata }) => metadata.name)
}

const databases = ({ dataDir }: TestServer) => readdirSync(dataDirPaths(dataDir).db)

test("a snapshot from before a rotation and a change of token comes back, and clients are told to list again", async () => {
  // https://github.com/rancher/rke/issues/2559 (docs/pains.md 8)
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const paths = dataDirPaths(server.dataDir)
  const tokenFile = join(server.home, "token-of-then")
  copyFileSync(paths.token, tokenFile)
  await write(server, "before")
  const saved = await said(server, "snapshot", "save", "--name", "first")
  expect(statSync(saved).mode & 0o777).toBe(0o600)
  const name = saved.slice(paths.snapshots.length + 1)
  // As SQLite leaves them where somebody looks into it.
  for (const end of ["-shm", "-wal"]) writeFileSync(saved + end, "")
  const listed = await said(server, "snapshot", "list")
  expect(listed).toContain(`${name}  ${statSync(saved).size}  `)
  expect(listed).not.toMatch(/-(shm|wal)/)
  for (const end of ["-shm", "-wal"]) rmSync(saved + end)

  await said(server, "secrets-encrypt", "rotate-keys")
  await write(server, "after")
  using api = apiClient(server.kubeconfig)
  const { metadata } = JSON.parse((await api.call("GET", SECRETS)).body)
  await said(server, "token", "rotate")

  const running = await keyturn(server, ["snapshot", "restore", name])
  expect(running).toMatchObject({ code: 19, stderr: expect.stringContaining(`pid ${server.pid}`) })
  expect(running.stderr).toContain("hint: stop that server first")
  await server.stop()
  const now = readFileSync(paths.token, "utf8")
  const closed = await keyturn(server, ["snapshot", "restore", name])
  expect(closed).toMatchObject({ code: 15, stderr: expect.stringContaining("it opens by: server") })
  expect(databases(server).filter((file) => /restore/.test(file))).toEqual([])

  const { stderr } = await keyturn(server, ["snapshot", "restore", name, "--token-file", tokenFile])
  const [, kept = ""] = /is kept, with its token: (\S+)/.exec(stderr) ?? []
  expect(readFileSync(join(kept, "token"), "utf8")).toBe(now)
  await server.start()
  expect(readFileSync(paths.token, "utf8")).toBe(readFileSync(tokenFile, "utf8"))
  expect(await names(server)).toEqual(["before"])
  const told = JSON.parse(await said(server, "secrets-encrypt", "history", "-o", "json"))
  const restored = { verb: "snapshot restore", user: "server", target: saved }
  expect(told).toMatchObject([restored])
  const watched = await api.call(
    "GET",
    `${SECRETS}?watch=true&resourceVersion=${metadata.resourceVersion}`,
  )
  expect(watched.body).toContain(`"code":410`)
  await said(server, "secrets-encrypt", "rotate-keys")
  await write(server, "again")

  await server.stop()
  const back = await keyturn(server, [
    "snapshot",
    "restore",
    join(kept, "state.db"),
    "--token-file",
    join(kept, "token"),
  ])
  expect(back.code, back.stderr).toBe(0)
  await server.start()
  expect(await names(server)).toEqual(["after", "before"])
})

test("a snapshot holds every write that was answered before it, while writers go on", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const written: string[] = []
  let isStopped = false
  const writer = async () => {
    while (!isStopped) {
      const name = `s-${String(written.length).padStart(5, "0")}`
      await write(server, name)
      written.push(name)
    }
  }
  const writing = writer()
  await until(() => written.length >= 20)
  const before = [...written]
  const saved = await said(server, "snapshot", "save")
  isStopped = true
  await writing
  await server.stop()
  expect((await keyturn(server, ["snapshot", "restore", saved])).code).toBe(0)
  await server.start()
  expect(await names(server)).toEqual(expect.arrayContaining(before))
})

test("what is no snapshot is refused, and the datastore stays as it is", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  await write(server, "one")
  const saved = await said(server, "snapshot", "save")
  expect((await keyturn(server, ["snapshot", "save", "--name", "../x"])).code).toBe(2)
  await server.stop()
  const paths = dataDirPaths(server.dataDir)
  const before = readFileSync(paths.state)
  const garbage = join(server.home, "garbage")
  const torn = join(server.home, "torn")
  writeFileSync(garbage, "no database at all, however long it may be")
  writeFileSync(torn, readFileSync(saved).subarray(0, 30_000))
  const empty = join(server.home, "empty")
  writeFileSync(empty, "")
  for (const file of [garbage, torn, empty, join(server.home, "missing")])
    expect(await keyturn(server, ["snapshot", "restore", file]), file).toMatchObject({ code: 26 })
  const damaged = join(server.home, "damaged")
  copyFileSync(saved, damaged)
  using copy = new DatabaseSync(damaged)
  copy.exec(
    `UPDATE keyturn_record SET value = CAST(replace(value, '"epoch":', '"epoch":1') AS BLOB) WHERE name = 'keyring'`,
  )
  copy.close()
  const code = ERRORS.RecordCorrupt.exit
  expect(await keyturn(server, ["snapshot", "restore", damaged])).toMatchObject({ code })
  expect(readFileSync(paths.state)).toEqual(before)
  expect(existsSync(`${paths.state}.restored`)).toBe(false)
  await server.start()
  expect(await names(server)).toEqual(["one"])
})

test("a database that somebody reads is not replaced while its log holds what the file lacks", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const saved = await said(server, "snapshot", "save")
  await write(server, "one")
  await server.kill9()
  const { state } = dataDirPaths(server.dataDir)
  using reader = new DatabaseSync(state)
  reader.exec("BEGIN; SELECT count(*) FROM kine")
  const log = readFileSync(`${state}-wal`)
  expect(log.length).toBeGreaterThan(0)
  const { code, stderr } = await keyturn(server, ["snapshot", "restore", saved])
  expect({ code, stderr }).toMatchObject({
    code: ERRORS.DataDirInUse.exit,
    stderr: expect.stringContaining("is read by another process"),
  })
  reader.close()
  await server.start()
  expect(await names(server)).toEqual(["one"])
})

test("a database that a symbolic link names is replaced where it lies", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const saved = await said(server, "snapshot", "save")
  await write(server, "one")
  await server.stop()
  const { state } = dataDirPaths(server.dataDir)
  const elsewhere = join(server.home, "state.db")
  renameSync(state, elsewhere)
  symlinkSync(elsewhere, state)
  const { stderr } = await keyturn(server, ["snapshot", "restore", saved])
  const [, kept = ""] = /is kept, with its token: (\S+)/.exec(stderr) ?? []
  expect(lstatSync(join(kept, "state.db")).isFile()).toBe(true)
  expect(lstatSync(state).isSymbolicLink()).toBe(true)
  await server.start()
  expect(await names(server)).toEqual([])
  await server.stop()
  rmSync(elsewhere)
  const nowhere = await keyturn(server, ["snapshot", "restore", saved])
  expect(nowhere).toMatchObject({ code: ERRORS.UsageInvalid.exit })
  expect(nowhere.stderr).toContain("is a symbolic link that leads nowhere")
})
