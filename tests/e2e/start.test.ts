/** How a server starts: what it refuses, what it leaves on the disk, and from when on it is ready. */
import { X509Certificate } from "node:crypto"
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { run as runHere } from "../../src/cli/run.ts"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { namesOf } from "../../src/cluster/certificates.ts"
import { apiClient } from "../harness/api.ts"
import { http1, http2 } from "../harness/https.ts"
import { run } from "../harness/process.ts"
import { expectQuiet } from "../harness/quiet.ts"
import { KEYTURN, kubectl, startServer } from "../harness/server.ts"

const home = mkdtempSync(join(tmpdir(), "keyturn-start-"))
afterAll(() => rmSync(home, { recursive: true }))
const { PATH } = process.env

/** A start that is to fail. */
async function start(args: readonly string[], env: Record<string, string> = {}) {
  const own = ["server", "--config", "/dev/null", "--https-listen-port", "0"]
  const given = args.includes("--data-dir") ? args : ["--data-dir", join(home, "never"), ...args]
  const { code, stdout, stderr } = await run(KEYTURN, [...own, ...given], {
    env: { PATH, HOME: home, ...env },
  })
  expect(stdout).toBe("")
  return { code, stderr }
}

const says = (sentence: string | RegExp) => expect.stringMatching(sentence)

test("a mistake in what is given is one sentence with the nearest valid word, and makes nothing", async () => {
  const config = join(home, "mistaken.yaml")
  writeFileSync(config, "secret-encryption: true\n")
  const mistakes = [
    [
      ["--secret-encryption"],
      {},
      "unknown flag --secret-encryption; the nearest is --secrets-encryption",
    ],
    [["--log-level", "inof"], {}, '--log-level cannot be "inof"; the nearest of .* is "info"'],
    [[], { KEYTURN_HTTPS_LISTEN_PORT: "70000", KEYTURN_LOG_LEVEL: "x" }, "KEYTURN_LOG_LEVEL"],
    [
      ["--config", config],
      {},
      `unknown key "secret-encryption" in ${config}; the nearest is "secrets-encryption"`,
    ],
  ] as const
  for (const [args, env, sentence] of mistakes) {
    const stderr = says(`^keyturn: error: ${sentence}[^\n]*\n$`)
    expect(await start(args, env)).toEqual({ code: 2, stderr })
  }
  expect(existsSync(join(home, "never"))).toBe(false)
})

test("a mistake in the token file names the file and its line, and makes nothing", async () => {
  const dataDir = join(home, "no-tokens")
  const tokens = join(home, "tokens.csv")
  writeFileSync(tokens, "t0ken,user,uid\nhunter2\n")
  const stderr = says(`^keyturn: error: ${tokens}, line 2: expected token,user,uid [^\n]*\n$`)
  const refused = await start(["--data-dir", dataDir, "--token-auth-file", tokens])
  expect(refused).toEqual({ code: 2, stderr })
  expect(existsSync(dataDir)).toBe(false)
})

test("files that are named must be there, addresses must be ours, ports free, a data directory unused", async () => {
  const dataDir = join(home, "refused")
  const data = ["--data-dir", dataDir]
  for (const flag of ["--encryption-provider-config", "--recovery-key-file", "--token-auth-file"]) {
    const stderr = says(/^keyturn: error: cannot read \/nowhere: no such file or directory\n/)
    expect(await start([...data, flag, "/nowhere"]), flag).toEqual({ code: 20, stderr })
  }
  const elsewhere = await start([...data, "--bind-address", "192.0.2.1"])
  expect(elsewhere).toEqual({
    code: 2,
    stderr: says(/ error: cannot listen on 192\.0\.2\.1:0: address not available\n$/),
  })

  await using server = await startServer({ dataDir })
  const taken = await start([
    "--data-dir",
    join(home, "other"),
    "--https-listen-port",
    String(server.port),
  ])
  expect(taken).toEqual({
    code: 21,
    stderr: says(
      `error: 0.0.0.0:${server.port} is in use by another program\nkeyturn: hint: .*https-listen-port`,
    ),
  })
  expect(await start(data)).toEqual({
    code: 19,
    stderr: says(`error: ${dataDir} is in use by the server with pid ${server.pid}, started 20`),
  })
})

test("a flag beats the environment, and that beats the configuration file", async () => {
  const config = join(home, "config.yaml")
  writeFileSync(
    config,
    "node-name: of-file\ntls-san: [a.example, b.example]\nwrite-kubeconfig-mode: 0644\nlog-format: json\n",
  )
  await using server = await startServer({
    args: ["--config", config, "--node-name", "of-flag"],
    env: { KEYTURN_NODE_NAME: "of-environment", KEYTURN_TLS_SAN: "c.example" },
  })
  const nodes = await kubectl(server, ["get", "nodes", "-o", "name"])
  expect(nodes.stdout).toBe("node/of-flag\n")
  const { serving } = dataDirPaths(server.dataDir)
  const names = namesOf(new X509Certificate(readFileSync(serving.cert)))
  expect(names).toContain("c.example")
  expect(names).not.toContain("a.example")
  expect(lstatSync(server.kubeconfig).mode & 0o777).toBe(0o644)
  for (const line of server
    .logs()
    .split("\n")
    .filter((text) => text.startsWith("{")))
    expect(JSON.parse(line)).toMatchObject({ level: "info", msg: expect.any(String) })
  expect(server.logs()).toContain('{"level":"info"')
})

const PRIVATE_FILES = [
  "keyturn.yaml",
  "server/cred/encryption-config.json",
  "server/cred/encryption-state.json",
  "server/db/state.db",
  "server/db/state.db-shm",
  "server/db/state.db-wal",
  "server/db/state.db.lock",
  "server/db/state.db.lock-journal",
  "server/db/state.db.lock.pid",
  "server/lock.db",
  "server/lock.db-journal",
  "server/lock.pid",
  "server/tls/client-admin.key",
  "server/tls/client-ca.key",
  "server/tls/server-ca.key",
  "server/tls/serving-kube-apiserver.key",
  "server/token",
]
const PUBLIC_FILES = [
  "server/tls/client-admin.crt",
  "server/tls/client-ca.crt",
  "server/tls/server-ca.crt",
  "server/tls/serving-kube-apiserver.crt",
]

test("everything in the data directory is the owner's alone, whatever the umask", async () => {
  const dataDir = join(home, "modes", "deep")
  const umask = process.umask(0)
  try {
    await using server = await startServer({ dataDir, args: ["--secrets-encryption"] })
    await kubectl(server, ["create", "secret", "generic", "one"])
    const found = readdirSync(dataDir, { recursive: true, encoding: "utf8" }).map((path) => {
      const stat = lstatSync(join(dataDir, path))
      const kind = stat.isDirectory() ? "d" : stat.isSymbolicLink() ? "l" : "-"
      return `${kind}${kind === "l" ? "" : (stat.mode & 0o7777).toString(8)} ${path}`
    })
    const expected = [
      ...["server", "server/cred", "server/db", "server/tls"].map((path) => `d700 ${path}`),
      ...PRIVATE_FILES.map((path) => `-600 ${path}`),
      ...PUBLIC_FILES.map((path) => `-644 ${path}`),
      "l server/node-token",
    ]
    expect(found.toSorted()).toEqual(expected.toSorted())
    expect(lstatSync(dataDir).mode & 0o777).toBe(0o700)
    expect(lstatSync(join(home, "modes")).mode & 0o777).toBe(0o700)
  } finally {
    process.umask(umask)
  }
})

test("it is ready with its files and its annotation written", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const paths = dataDirPaths(server.dataDir)
  using client = http1({ port: server.port, ca: readFileSync(paths.serverCa.cert, "utf8") })
  const verbose = await client.send({ method: "GET", url: "/readyz?verbose" })
  expect(verbose.body.toString()).toBe("[+]ping ok\n[+]published ok\nreadyz check passed\n")
  const { stdout } = await kubectl(server, ["get", "nodes", "-o", "json"])
  expect(JSON.parse(stdout).items).toMatchObject([
    {
      metadata: {
        annotations: {
          "keyturn.io/encryption-config-hash": readFileSync(paths.encryptionState, "utf8"),
        },
      },
    },
  ])
})

test("the keyring decides whether values are encrypted, and one line says so", async () => {
  await using server = await startServer({ args: ["--secrets-encryption=false"] })
  expect(server.logs()).not.toContain("secrets-encryption on data")
  await server.restart(["--secrets-encryption"])
  expect(server.logs().match(/^\S+ WARN .*data that is not encrypted; run: .*$/gm)).toHaveLength(1)
  expect(
    server.logs().match(/INFO the datastore held no keyring: this start made it/g),
  ).toHaveLength(1)
  expect(
    (
      await run(KEYTURN, ["secrets-encrypt", "enable", "--wait"], {
        env: { ...server.env, KEYTURN_DATA_DIR: server.dataDir, KEYTURN_CONFIG: "/dev/null" },
      })
    ).code,
  ).toBe(0)
  await kubectl(server, ["create", "secret", "generic", "one"])
  const before = server.logs().length
  await server.restart()
  expect((await kubectl(server, ["get", "secret", "one", "-o", "name"])).stdout).toBe(
    "secret/one\n",
  )
  const lines = server
    .logs()
    .slice(before)
    .match(/^\S+ [A-Z]+ .*encrypt.*$/gm)
  expect(lines).toEqual([says(/ INFO started without --secrets-encryption on encrypted data/)])
  expectQuiet(server)
})

const OPEN = ["/healthz", "/livez", "/readyz", "/readyz/ping", "/version", "/cacerts"]
const CLOSED = [
  "/",
  "/api",
  "/apis",
  "/api/v1",
  "/openapi/v3",
  "/metrics",
  "/api/v1/nodes",
  "/api/v1/namespaces/default/secrets",
  "/api/v1/namespaces/default/secrets?watch=1",
  "/v1-keyturn/encrypt/status",
  "/v1-k3s/encrypt/status",
  "/versions",
  "/ping",
  "//version",
]

test("who says nothing about himself may ask for health, version and the CA, and for nothing else", async () => {
  await using server = await startServer()
  const ca = readFileSync(dataDirPaths(server.dataDir).serverCa.cert, "utf8")
  for (const version of [http1, http2]) {
    using client = version({ port: server.port, ca })
    const status = async (method: string, url: string) =>
      (await client.send({ method, url })).status
    for (const path of OPEN) expect(await status("GET", path), path).toBe(200)
    for (const path of CLOSED) expect(await status("GET", path), path).toBe(401)
    for (const path of ["/version", ...CLOSED]) expect(await status("POST", path), path).toBe(401)
  }
})

/** A start and an end inside of this process, at a time of our own. Returns what it says. */
async function serveAt(dataDir: string, now: Date, args: readonly string[] = []): Promise<string> {
  const end = new AbortController()
  let said = ""
  const output = {
    isTerminal: false,
    columns: 80,
    write(text: string) {
      said += text
      if (text.includes("is ready")) end.abort("SIGTERM")
    },
  }
  const own = ["--config", "/dev/null", "--data-dir", dataDir, "--https-listen-port", "0"]
  const code = await runHere(["server", ...own, ...args], {
    version: "1.2.3",
    command: "keyturn",
    env: {},
    home,
    hostname: "n1",
    isRoot: false,
    stdout: output,
    stderr: output,
    ask: null,
    now: () => now,
    monotonicMs: () => performance.now(),
    signal: end.signal,
  })
  expect(code, said).toBe(0)
  return said
}

test("certificates are renewed at a start that finds less than 30 days left, or other names", async () => {
  const dataDir = join(home, "certificates")
  const { serving, serverCa } = dataDirPaths(dataDir)
  const inDays = (days: number) => new Date(Date.parse("2026-11-24T00:00:00Z") + days * 86_400_000)
  const issued = (said: string) => said.match(/(?<=issued a new ).*$/gm) ?? []
  const endOf = (path: string) => new X509Certificate(readFileSync(path)).validToDate
  expect(issued(await serveAt(dataDir, inDays(0)))).toHaveLength(2)
  const ca = readFileSync(serverCa.cert, "utf8")
  expect(issued(await serveAt(dataDir, inDays(334)))).toEqual([])
  expect(issued(await serveAt(dataDir, inDays(336)))).toEqual([
    says("serving certificate, because it ends on 2027-11-24T"),
    says("admin client certificate, because it ends on 2027-11-24T"),
  ])
  expect(endOf(serving.cert)).toEqual(inDays(336 + 365))
  expect(issued(await serveAt(dataDir, inDays(336)))).toEqual([])
  const named = await serveAt(dataDir, inDays(336), ["--tls-san", "vault.example"])
  expect(issued(named)).toEqual(["serving certificate, because it was not for vault.example"])
  expect(issued(await serveAt(dataDir, inDays(336)))).toEqual([
    "serving certificate, because it was for vault.example too",
  ])
  expect(readFileSync(serverCa.cert, "utf8")).toBe(ca)
})

test("the kubeconfig holds the new administrator's certificate after a start that renewed it", async () => {
  await using server = await startServer()
  await server.stop()
  const { admin } = dataDirPaths(server.dataDir)
  const before = readFileSync(server.kubeconfig, "utf8")
  rmSync(admin.key)
  await server.start()
  expect(readFileSync(server.kubeconfig, "utf8")).not.toBe(before)
  using client = apiClient(server.kubeconfig)
  expect((await client.call("GET", "/api/v1/nodes")).status).toBe(200)
})
