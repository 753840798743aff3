/** What the benchmarks share: a real server as a user starts it, Secrets put into it, and how results are printed. */
import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { cpus, tmpdir, totalmem, type } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parse } from "yaml"
import { type ApiClient, apiClient } from "../tests/harness/api.ts"
import { ENGINE_NAMES, startEngine } from "../tests/harness/engines.ts"
import { fillSqlite, TEMPLATE } from "../tests/harness/sqlite-fill.ts"

export const KEYTURN = fileURLToPath(new URL("../bin/keyturn", import.meta.url))

export interface BenchServer {
  readonly dataDir: string
  readonly pid: number
  readonly readyMs: number
  readonly url: string
  readonly call: ApiClient["call"]
  stop(): Promise<void>
}

export function newDataDir(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "keyturn-bench-"))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** `readyMs` runs from the start of the process to its word that it is ready. */
export async function startServer(
  dataDir: string,
  { args = [], env = {} }: { args?: readonly string[]; env?: NodeJS.ProcessEnv } = {},
): Promise<BenchServer> {
  const own = ["--config", "/dev/null", "--data-dir", dataDir, "--https-listen-port", "0"]
  const startedMs = performance.now()
  const child = spawn(KEYTURN, ["server", ...own, "--secrets-encryption", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  })
  const url = await readyUrl(child)
  const readyMs = performance.now() - startedMs
  const client = apiClient(join(dataDir, "keyturn.yaml"))
  return {
    dataDir,
    pid: child.pid ?? 0,
    readyMs,
    url,
    call: client.call,
    async stop() {
      client[Symbol.dispose]()
      child.kill("SIGTERM")
      await new Promise((resolve) => child.once("exit", resolve))
    },
  }
}

function readyUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = ""
    child.stdout?.on("data", (chunk) => {
      said += chunk
      const url = /^keyturn is ready: (\S+)$/m.exec(said)?.[1]
      if (url !== undefined) resolve(url)
    })
    child.once("exit", () => reject(new Error(`the server ended:\n${said}`)))
  })
}

/** `count` Secrets of 1 KiB in the namespace `default`, by `clients` at once. */
export async function loadSecrets(
  server: BenchServer,
  { count, clients = 32 }: { count: number; clients?: number },
): Promise<void> {
  let next = 0
  const client = async () => {
    for (let i = next++; i < count; i = next++) {
      const { status, body } = await server.call("POST", "/api/v1/namespaces/default/secrets", {
        kind: "Secret",
        apiVersion: "v1",
        metadata: { name: `bench-${String(i).padStart(7, "0")}` },
        data: { value: randomBytes(1024).toString("base64") },
      })
      if (status !== 201) throw new Error(`create answered ${status}: ${body}`)
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
}

/** The client certificate that a server made for its administrator. */
export function administrator(dataDir: string): { cert: string; key: string } {
  const text = readFileSync(join(dataDir, "keyturn.yaml"), "utf8")
  const { users } = parse(text) as { users: [{ user: Record<string, string> }] }
  const { user } = users[0]
  const pem = (name: string) => Buffer.from(user[name] ?? "", "base64").toString()
  return { cert: pem("client-certificate-data"), key: pem("client-key-data") }
}

/** Resident memory of a process, in MiB. */
export function residentMiB(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
  return Number(kib) / 1024
}

export const median = (numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN

/** The machine, in one line, for the record of a result. */
export const machine = (): string =>
  `${type()}, ${cpus().length} x ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`

/** Engines under test do not sync to the disk; these do, as they do by themselves. */
const DURABLE = {
  etcd: [],
  mariadb: ["innodb-flush-method=O_DIRECT"],
  postgres: ["fsync=on"],
} as const

/** An engine that is named is started, and ends with the stack; any other text is the endpoint of an empty datastore. */
export async function endpointOf(text: string, stack: AsyncDisposableStack): Promise<string> {
  const name = ENGINE_NAMES.find((known) => known === text)
  if (name === undefined) return text
  return (await stack.use(await startEngine(name, DURABLE[name])).newDatastore()).endpoint
}

/** A data directory with `count` Secrets of 1 KiB in the namespace `default`, put into its file. */
export async function filledDataDir(count: number): Promise<ReturnType<typeof newDataDir>> {
  const dir = newDataDir()
  const server = await startServer(dir.path)
  const { status, body } = await server.call("POST", "/api/v1/namespaces/default/secrets", TEMPLATE)
  await server.stop()
  if (status !== 201) throw new Error(`create answered ${status}: ${body}`)
  fillSqlite(dir.path, count)
  return dir
}
