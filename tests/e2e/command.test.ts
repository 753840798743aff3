/** The command as a process: where it finds its server, signals, pipes, and the secrets that it prints. */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { DatabaseSync } from "node:sqlite"
import { hostname } from "node:os"
import { expect, test } from "vitest"
import { ERRORS } from "../../src/errors.ts"
import { Program, run, until } from "../harness/process.ts"
import { KEYTURN, startServer, type TestServer } from "../harness/server.ts"
import { startSupervisor } from "../harness/supervisor.ts"

/** Nothing but the data directory is given: address and token are found there. */
const locally = ({ dataDir, env }: TestServer, ...argv: readonly string[]) =>
  run(KEYTURN, [...argv, "--data-dir", dataDir], { env })

test("beside a server on a free port the data directory is all that a command needs", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const { code, stdout, stderr } = await locally(server, "secrets-encrypt", "status", "-o", "json")
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  const k3s =
    '{\n\t"stage": "start",\n\t"activekey": "AES-CBC aescbckey",\n\t"enable": true,\n\t"hashmatch": true'
  expect(stdout.startsWith(`${k3s},\n\t"servers": [\n`)).toBe(true)
  expect(JSON.parse(stdout).servers).toEqual([
    {
      name: hostname().toLowerCase(),
      ready: true,
      stage: "start",
      hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      epoch: expect.any(Number),
      lastseenseconds: 0,
      flags: {
        "auto-rotate": "false",
        "encryption-reload": "watch",
        "key-max-age": "none",
        "secrets-encryption-provider": "aescbc",
      },
    },
  ])
  await server.stop()
  const gone = await locally(server, "secrets-encrypt", "status")
  expect(gone).toEqual({
    code: 24,
    stdout: "",
    stderr: `keyturn: error: cannot reach ${server.url}: connection refused\nkeyturn: hint: is the server running there? --data-dir or --server say which one is asked\n`,
  })
})

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)(
  "%s leaves the server going on, says so, and is the exit code %i",
  async (signal, code) => {
    const rewriting = { id: "1", kind: "rotate-keys", state: "running", rows: 10, looked: 1 }
    await using server = await startSupervisor({
      reply: ({ request }) => ({
        json: request.startsWith("PUT") ? { operation: "1" } : rewriting,
      }),
    })
    const to = ["--server", server.url, "--token", server.token]
    await using command = new Program(KEYTURN, ["secrets-encrypt", "rotate-keys", ...to])
    await until(() => server.received.length > 2)
    expect(await command.end(signal)).toBe(code)
    expect({ stdout: command.stdout, stderr: command.stderr }).toEqual({
      stdout: "",
      stderr:
        "keyturn: the server finishes what it has begun; see: keyturn secrets-encrypt status\n",
    })
  },
)

/** As long as a server that says nothing is waited for, and more. */
const LONG_MS = 35_000

test("a long reading is waited for while the server is there, and no longer", {
  timeout: 120_000,
}, async () => {
  const never = new Promise<never>(() => {})
  await using reads = await startSupervisor({
    reply: async ({ request }) => {
      if (request.endsWith("in-use")) await sleep(LONG_MS)
      return { json: request.endsWith("in-use") ? [] : { servers: [] } }
    },
  })
  await using stands = await startSupervisor({
    reply: ({ request }) => (request.endsWith("status") ? { json: { servers: [] } } : never),
  })
  const wide = ({ url, token }: typeof reads) => {
    const to = ["--server", url, "--token", token]
    return run(KEYTURN, ["secrets-encrypt", "status", "-o", "wide", ...to], { timeoutMs: 100_000 })
  }
  const keys = ({ url, token }: typeof reads) =>
    run(KEYTURN, ["secrets-encrypt", "keys", "--server", url, "--token", token], {
      timeoutMs: 100_000,
    })
  const [read, ...gaveUp] = await Promise.all([wide(reads), wide(stands), keys(stands)])
  expect(read).toMatchObject({ code: 0, stderr: "" })
  for (const { code, stderr } of gaveUp)
    expect({ code, stderr }).toEqual({
      code: ERRORS.ServerUnreachable.exit,
      stderr: expect.stringContaining("nothing was heard of it for 30 s"),
    })
})

test("who waits for a rotation is told what holds it up, and that it has ended", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  using reader = new DatabaseSync(join(server.dataDir, "server", "db", "state.db"))
  reader.exec("BEGIN; SELECT count(*) FROM kine")
  await using command = new Program(
    KEYTURN,
    ["secrets-encrypt", "rotate-keys", "--wait", "--data-dir", server.dataDir],
    { env: server.env },
  )
  await until(() => /stands still: .*another process reads it/.test(command.stderr))
  reader.exec("COMMIT")
  expect(await command.ended).toBe(0)
  expect(command.stdout).toBe("keys rotated, reencryption finished\n")
})

test("a reader that leaves early is no failure to shout about", async () => {
  const script = '"$0" completion fish | head -n 1'
  expect(await run("sh", ["-c", script, KEYTURN])).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^# fish completion for keyturn.*\n$/),
    stderr: "",
  })
})

test("the token is replaced while the server runs; the old one is refused, and a restart needs no hand", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const path = join(server.dataDir, "server/token")
  const before = readFileSync(path, "utf8")
  const { code, stdout } = await locally(server, "token", "rotate")
  expect(code).toBe(0)
  expect(stdout).toMatch(/^K10[0-9a-f]{64}::server:[0-9a-f]{32}\n$/)
  expect(stdout).not.toBe(before)
  expect(readFileSync(path, "utf8")).toBe(stdout)
  expect(statSync(path).mode & 0o777).toBe(0o600)

  await server.kill9()
  await server.start()
  expect((await locally(server, "secrets-encrypt", "status")).code).toBe(0)
  const old = await locally(server, "secrets-encrypt", "status", "--token", before.trim())
  expect(old).toMatchObject({ code: 23, stdout: "" })

  const file = join(server.home, "my-token")
  writeFileSync(file, "correct-horse-battery\n")
  const own = await locally(server, "token", "rotate", "--new-token-file", file)
  expect(own.stdout).toMatch(/^K10[0-9a-f]{64}::server:correct-horse-battery\n$/)
})

test("a recovery key starts a server whose token is lost", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const created = await locally(server, "recovery-key", "create")
  expect(created).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^keyturn-recovery-[\w-]{43}\n$/),
    stderr: expect.stringMatching(
      /^keyturn: this key is shown once: keep it apart from the data and the token\nkeyturn: it is listed, and can be revoked, by its id [0-9a-f-]{36}\n$/,
    ),
  })
  await server.stop()
  const token = join(server.dataDir, "server/token")
  writeFileSync(token, "another-token\n", { mode: 0o600 })
  await expect(server.start()).rejects.toThrow("recovery")

  const file = join(server.home, "recovery-key")
  writeFileSync(file, created.stdout, { mode: 0o600 })
  await server.start(["--recovery-key-file", file])
  const { stdout } = await locally(server, "secrets-encrypt", "status")
  expect(stdout).toContain("Encryption Status: Enabled")
  expect(existsSync(token)).toBe(true)
})
