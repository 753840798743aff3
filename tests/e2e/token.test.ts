/** What opens the keyring, changed and lost: the server's token and recovery keys. */
import { copyFileSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { ERRORS } from "../../src/errors.ts"
import { openRecord, readOutside } from "../../src/keyring/record.ts"
import { unlock } from "../../src/keyring/slots.ts"
import { apiClient } from "../harness/api.ts"
import { run, until } from "../harness/process.ts"
import { expectQuiet } from "../harness/quiet.ts"
import { KEYTURN, keyturn, startServer, type TestServer } from "../harness/server.ts"
import { filesBelow } from "../harness/stored.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const TOKEN = /^K10[0-9a-f]{64}::server:[^\n]+\n$/

const tokenIn = ({ dataDir }: TestServer) => readFileSync(dataDirPaths(dataDir).token, "utf8")

/** Standard output of a command that succeeds. */
async function said(server: TestServer, ...argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await keyturn(server, argv)
  expect({ code, stderr }, argv.join(" ")).toEqual({ code: 0, stderr: expect.any(String) })
  return stdout
}

async function write(server: TestServer, name: string): Promise<void> {
  using api = apiClient(server.kubeconfig)
  const data = { of: Buffer.from(name).toString("base64") }
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name }, data }
  expect(await api.call("POST", SECRETS, secret)).toMatchObject({ status: 201 })
}

async function read(server: TestServer, name: string): Promise<string> {
  using api = apiClient(server.kubeconfig)
  const { status, body } = await api.call("GET", `${SECRETS}/${name}`)
  expect(status, body).toBe(200)
  return Buffer.from(JSON.parse(body).data.of, "base64").toString()
}

/** The exit code of a start that fails, and what it says. */
async function failedStart({ dataDir, env }: TestServer, ...args: readonly string[]) {
  const own = ["--config", "/dev/null", "--data-dir", dataDir, "--https-listen-port", "0"]
  const { code, stdout, stderr } = await run(KEYTURN, ["server", ...own, ...args], { env })
  expect(stdout).toBe("")
  return { code, stderr }
}

function rows(dataDir: string): unknown[] {
  using db = new DatabaseSync(dataDirPaths(dataDir).state, { readOnly: true })
  return [
    ...db.prepare("SELECT id, name, hex(value) FROM kine").all(),
    ...db.prepare("SELECT * FROM keyturn_record").all(),
  ]
}

const SLOTS = /it opens by: server token of \d{4}-\d\d-\d\dT[\d:.]+Z/

/** The keyring as it is stored now. */
function keyringOf({ dataDir }: TestServer): Buffer {
  using db = new DatabaseSync(dataDirPaths(dataDir).state, { readOnly: true })
  const [row] = db.prepare("SELECT value FROM keyturn_record WHERE name = 'keyring'").all()
  return Buffer.from(row?.value as Uint8Array)
}

/** Its sealed part. */
const boxOf = (server: TestServer): string => readOutside(keyringOf(server)).box

/** The database's files that hold a box. */
const filesWith = ({ dataDir }: TestServer, box: string): string[] =>
  [...filesBelow(dataDirPaths(dataDir).db)].flatMap(([name, bytes]) =>
    bytes.includes(box.slice(0, 200)) ? [name] : [],
  )

test("token rotate leaves nothing in the files of the datastore that the old token opens, or says so", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const left = (box: string) => filesWith(server, box)
  const first = boxOf(server)
  expect(left(first)).not.toEqual([])
  await said(server, "token", "rotate")
  expect(left(first)).toEqual([])

  const second = boxOf(server)
  using reader = new DatabaseSync(dataDirPaths(server.dataDir).state, { readOnly: true })
  reader.exec("BEGIN; SELECT count(*) FROM kine")
  const { code, stderr } = await keyturn(server, ["token", "rotate"])
  expect({ code, stderr }).toEqual({
    code: 13,
    stderr: expect.stringContaining("but the old one still opens copies of the datastore"),
  })
  expect(left(second)).not.toEqual([])
  reader.exec("COMMIT")
  await said(server, "token", "rotate")
  expect(left(second)).toEqual([])
})

test.each([
  ["change-token:after", ["token", "rotate"]],
  ["destroy-key:after", ["secrets-encrypt", "keys", "destroy", "aescbckey"]],
])("killed at %s, the next start clears the files of the datastore", async (point, verb) => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  await said(server, "secrets-encrypt", "rotate-keys")
  await server.stop()
  await server.start([], point)
  const box = boxOf(server)
  const confirm = verb.includes("destroy") ? ["--confirm", "aescbckey"] : []
  expect((await keyturn(server, [...verb, ...confirm])).code).not.toBe(0)
  expect(await server.ended()).toBe(137)
  expect(boxOf(server)).not.toBe(box)
  expect(filesWith(server, box)).not.toEqual([])
  await server.start()
  await until(() => filesWith(server, box).length === 0, { what: "the files are cleared" })
  expectQuiet(server)
})

test("token rotate: the old one is refused at once, the new one opens all there ever was", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  await write(server, "one")
  const old = copyOfRow(server, "one")
  await said(server, "secrets-encrypt", "rotate-keys")
  const before = tokenIn(server)

  const printed = await said(server, "token", "rotate")
  expect(printed).toMatch(TOKEN)
  expect(printed).not.toBe(before)
  expect(tokenIn(server)).toBe(printed)
  const status = (token: string) =>
    keyturn(server, ["secrets-encrypt", "status", "--token", token.trim()])
  expect((await status(before)).code).toBe(23)
  expect((await status(printed)).code).toBe(0)

  expect(await server.stop()).toBe(0)
  const refused = await failedStart(server, "--token", before.trim())
  expect(refused).toEqual({ code: 15, stderr: expect.stringMatching(SLOTS) })
  putBack(server, old)
  await server.start()
  expect(await read(server, "one")).toBe("one")

  const own = await said(server, "token", "rotate", "--new-token", "a pass:word")
  expect(own).toMatch(/::server:a pass:word\n$/)
  await server.restart()
  expect(await read(server, "one")).toBe("one")
  expectQuiet(server)
})

/** The bytes that lie in the datastore for a Secret, under the key that wrote it. */
function copyOfRow({ dataDir }: TestServer, name: string): Uint8Array {
  using db = new DatabaseSync(dataDirPaths(dataDir).state, { readOnly: true })
  const row = db.prepare("SELECT value FROM kine WHERE name = ?").get(rowName(name))
  return row?.["value"] as Uint8Array
}

function putBack({ dataDir }: TestServer, value: Uint8Array): void {
  using db = new DatabaseSync(dataDirPaths(dataDir).state)
  const changed = db.prepare("UPDATE kine SET value = ? WHERE name = ?").run(value, rowName("one"))
  expect(changed.changes).toBe(1)
}

const rowName = (name: string) => `/registry/secrets/default/${name}`

/** A change of the token is: token.next, the keyring, the token, no token.next. */
const CRASHES = {
  "before the keyring changes": ({ paths, after }: Crash) => {
    writeFileSync(paths.nextToken, after.replace(/.{8}\n$/, "deadbeef\n"))
  },
  "after the keyring has changed": ({ paths, before, after }: Crash) => {
    writeFileSync(paths.token, before)
    writeFileSync(paths.nextToken, after)
  },
  "after the keyring has changed, where there was no token": ({ paths, after }: Crash) => {
    rmSync(paths.token)
    rmSync(paths.nodeToken)
    writeFileSync(paths.nextToken, after)
  },
  "after the keyring has changed, where the token was damaged": ({ paths, after }: Crash) => {
    writeFileSync(paths.token, "")
    writeFileSync(paths.nextToken, after)
  },
  "after the token is written": ({ paths, after }: Crash) => {
    writeFileSync(paths.nextToken, after)
  },
}

interface Crash {
  readonly paths: ReturnType<typeof dataDirPaths>
  /** The content of the token file before and after the change. */
  readonly before: string
  readonly after: string
}

test("killed at any step of a change of the token, the next start goes on by itself", async () => {
  await using server = await startServer()
  const paths = dataDirPaths(server.dataDir)
  for (const [moment, leave] of Object.entries(CRASHES)) {
    const before = tokenIn(server)
    const after = await said(server, "token", "rotate")
    await server.kill9()
    leave({ paths, before, after })
    await server.start()
    expect(tokenIn(server), moment).toBe(after)
    expect(readFileSync(paths.nodeToken, "utf8"), moment).toBe(after)
    expect(statSync(paths.nextToken, { throwIfNoEntry: false }), moment).toBeUndefined()
    await said(server, "secrets-encrypt", "status")
  }
})

test("kill -9 in the middle of a real change", async () => {
  await using server = await startServer()
  const { nextToken } = dataDirPaths(server.dataDir)
  const isChanging = () => statSync(nextToken, { throwIfNoEntry: false })
  for (const afterMs of [0, 5, 10, 20]) {
    const changing = keyturn(server, ["token", "rotate"])
    await until(isChanging, { intervalMs: 1 }).catch(() => {}) // it may have been too short to see
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    await server.kill9()
    await changing
    await server.start()
    await said(server, "secrets-encrypt", "status")
  }
})

test("a wrong or lost token: the error says what opens it, and nothing is changed", async () => {
  // https://github.com/k3s-io/k3s/issues/4640, https://github.com/rancher/rke2/issues/2410 (docs/pains.md 7)
  await using server = await startServer({ args: ["--secrets-encryption"] })
  await write(server, "one")
  const [recoveryKey] = (await said(server, "recovery-key", "create")).split("\n")
  await server.stop()
  const { token, state } = dataDirPaths(server.dataDir)
  const kept = `${token}.kept`
  copyFileSync(token, kept)
  const before = rows(server.dataDir)
  const both = expect.stringMatching(new RegExp(`${SLOTS.source}, recovery key of \\d{4}-`))

  expect(await failedStart(server, "--token", "wr0ngt0ken")).toEqual({ code: 15, stderr: both })
  expect(readFileSync(token)).toEqual(readFileSync(kept))
  rmSync(token)
  expect(await failedStart(server)).toEqual({ code: 15, stderr: both })
  const recovery = join(server.home, "recovery-key")
  writeFileSync(recovery, "keyturn-recovery-wr0ng\n")
  expect(await failedStart(server, "--recovery-key-file", recovery)).toEqual({
    code: 15,
    stderr: both,
  })
  expect(statSync(token, { throwIfNoEntry: false })).toBeUndefined()
  expect(rows(server.dataDir), state).toEqual(before)
  expect(server.logs()).not.toMatch(/wr0ng/)

  writeFileSync(recovery, `${recoveryKey}\n`)
  await server.start(["--recovery-key-file", recovery])
  expect(await read(server, "one")).toBe("one")
  expect(tokenIn(server)).toMatch(TOKEN)
  expect(tokenIn(server)).not.toBe(readFileSync(kept, "utf8"))
  await server.stop()
  copyFileSync(kept, token)
  expect((await failedStart(server)).code).toBe(15)

  for (const damaged of ["", "K10abc"]) {
    writeFileSync(token, damaged)
    const stderr = expect.stringMatching(SLOTS)
    expect(await failedStart(server)).toEqual({ code: 22, stderr })
    await server.start(["--recovery-key-file", recovery])
    expect(await read(server, "one")).toBe("one")
    expect(tokenIn(server)).toMatch(TOKEN)
    await server.stop()
  }
})

test("a recovery key is printed once and nowhere else, and outlives changes of the token", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  await write(server, "one")
  const key = await said(server, "recovery-key", "create")
  expect(key).toMatch(/^keyturn-recovery-[\w-]{43}\n$/)
  await said(server, "token", "rotate")
  await said(server, "secrets-encrypt", "rotate-keys")
  const other = await said(server, "recovery-key", "create")
  expect(other).not.toBe(key)
  await said(server, "token", "rotate")
  expect(server.logs()).not.toContain(key.trim())
  expect(await server.stop()).toBe(0)
  const { token } = dataDirPaths(server.dataDir)
  const recovery = join(server.home, "recovery-key")
  for (const each of [key, other]) {
    rmSync(token)
    writeFileSync(recovery, each)
    await server.start(["--recovery-key-file", recovery])
    expect(await read(server, "one")).toBe("one")
    await server.stop()
  }
})

/** Its id is for the person who made it. */
async function newRecoveryKey(server: TestServer): Promise<{ key: string; id: string }> {
  const { code, stdout, stderr } = await keyturn(server, ["recovery-key", "create"])
  expect(code, stderr).toBe(0)
  return { key: stdout.trim(), id: /by its id (\S+)\n$/.exec(stderr)?.[1] ?? "none was told" }
}

test("recovery keys are listed, and one that is revoked opens nothing from then on", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  await write(server, "one")
  const list = () => said(server, "recovery-key", "list")
  const ids = async () => {
    const { recoverykeys } = JSON.parse(await said(server, "recovery-key", "list", "-o", "json"))
    return recoverykeys.map(({ id }: { id: string }) => id)
  }
  expect(await list()).toBe("No recovery keys\n")
  const lost = await newRecoveryKey(server)
  const kept = await newRecoveryKey(server)
  expect(await ids()).toEqual([lost.id, kept.id])
  expect(await list()).toMatch(
    new RegExp(`^Created +Age +ID *\n-+ +-+ +-- *\n20\\S+Z +\\d+s +${lost.id}\n20.* ${kept.id}\n$`),
  )
  const before = keyringOf(server)
  const by = { kind: "recovery", secret: lost.key } as const
  const clusterKey = await unlock(readOutside(before).slots, by)
  expect(openRecord(before, clusterKey).keyring.intent).toBe("encrypted")
  const box = boxOf(server)
  expect(filesWith(server, box)).not.toEqual([])

  const revoked = await keyturn(server, ["recovery-key", "revoke", lost.id])
  expect(revoked).toEqual({
    code: 0,
    stdout: `recovery key ${lost.id} revoked\n`,
    stderr: expect.stringContaining("run: keyturn token rotate"),
  })
  expect(await ids()).toEqual([kept.id])
  const after = keyringOf(server)
  await expect(unlock(readOutside(after).slots, by)).rejects.toMatchObject({
    code: "SlotDidNotOpen",
  })
  expect(() => openRecord(after, clusterKey)).toThrow(
    expect.objectContaining({ code: "RecordCorrupt" }),
  )
  expect(filesWith(server, box)).toEqual([])
  const told = JSON.parse(await said(server, "secrets-encrypt", "history", "-o", "json"))
  expect(told.slice(-3)).toMatchObject([
    { verb: "recovery-key create", target: lost.id },
    { verb: "recovery-key create", target: kept.id },
    { verb: "recovery-key revoke", target: lost.id },
  ])

  const idOf = (wanted: string) =>
    readOutside(after).slots.find(({ kind }) => kind === wanted)?.id ?? ""
  for (const [id, code, message] of [
    [lost.id, "NotFound", `no recovery key has the id "${lost.id}" now`],
    ["x".repeat(1000), "NotFound", `has the id "${"x".repeat(64)}" now`],
    [idOf("server"), "NotFound", "no recovery key has the id"],
    [idOf("token"), "UsageInvalid", "run: keyturn token rotate"],
  ] as const) {
    const refused = await keyturn(server, ["recovery-key", "revoke", id])
    expect(refused).toEqual({
      code: ERRORS[code].exit,
      stdout: "",
      stderr: expect.stringContaining(message),
    })
  }
  expect(keyringOf(server)).toEqual(after)

  await server.stop()
  rmSync(dataDirPaths(server.dataDir).token)
  const recovery = join(server.home, "recovery-key")
  writeFileSync(recovery, lost.key)
  expect((await failedStart(server, "--recovery-key-file", recovery)).code).toBe(15)
  writeFileSync(recovery, kept.key)
  await server.start(["--recovery-key-file", recovery])
  expect(await read(server, "one")).toBe("one")
})

test("changes that come together, a rotation of the keys among them, all take effect", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  for (let n = 0; n < 40; n++) await write(server, `s${n}`)
  const supervisor = supervisorOf(server)
  const answers = await Promise.all([
    supervisor("PUT", "encrypt/config", { stage: "rotate_keys" }),
    ...[1, 2, 3, 4].map(() => supervisor("PUT", "token", {})),
    supervisor("POST", "recovery-key", {}),
    supervisor("POST", "recovery-key", {}),
  ])
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
  const tokens = answers.slice(1, 5).map(({ body }) => JSON.parse(body).token as string)
  expect(new Set(tokens).size).toBe(4)
  expect(tokens).toContain(tokenIn(server).trim())
  await until(async () =>
    (await said(server, "secrets-encrypt", "status")).includes("reencrypt_finished"),
  )
  expectQuiet(server)
  for (const token of tokens) {
    const { code } = await keyturn(server, ["secrets-encrypt", "status", "--token", token])
    expect(code).toBe(token === tokenIn(server).trim() ? 0 : 23)
  }
  await server.kill9()
  const recovery = join(server.home, "recovery-key")
  writeFileSync(recovery, JSON.parse(answers[5]?.body ?? "").recoveryKey)
  await server.start()
  expect(await read(server, "s7")).toBe("s7")
  await server.stop()
  rmSync(dataDirPaths(server.dataDir).token)
  await server.start(["--recovery-key-file", recovery])
  expect(await read(server, "s7")).toBe("s7")
})

/** The administrator's certificate opens the supervisor's routes too, whatever becomes of the token. */
function supervisorOf(server: TestServer) {
  return async (method: string, path: string, body: object) => {
    using api = apiClient(server.kubeconfig)
    return await api.call(method, `/v1-keyturn/${path}`, body)
  }
}

const REFUSED = ["pw ", "p\nw", "", "abcdef.0123456789abcdef"]

test("a token that can be guessed is taken, as K3s takes it, with a warning", async () => {
  await using server = await startServer({ args: ["--token", "x"] })
  expect(server.logs()).toContain("fewer than 16 characters")
  const rotated = async (...words: readonly string[]) =>
    (await keyturn(server, ["token", "rotate", ...words])).stderr
  expect(await rotated("--new-token", "y")).toContain("fewer than 16 characters")
  expect(await rotated()).not.toContain("fewer than")
  const before = server.logs().length
  await server.restart(["--token", tokenIn(server).trim()])
  expect(server.logs().slice(before)).not.toContain("fewer than")
})

test("a new token that could not open what it seals is refused", async () => {
  // https://github.com/k3s-io/k3s/issues/3675 (docs/pains.md 7)
  await using server = await startServer()
  const before = tokenIn(server)
  for (const newToken of REFUSED) {
    const { code, stdout } = await keyturn(server, ["token", "rotate", "--new-token", newToken])
    expect({ code, stdout }, JSON.stringify(newToken)).toEqual({ code: 22, stdout: "" })
    expect(tokenIn(server)).toBe(before)
  }
})
