/** How long does `rotate-keys` take over 10,000 Secrets of 1 KiB on three servers that share a datastore, under light load?
 *
 *  It is the command as a user runs it: both passes, the proof, the retirement. Light load: at each server one client that writes
 *  and reads by turns, about 30 requests a second. Engines named here are started here, and sync to the disk as they do by
 *  themselves; the database behind a URL must be empty.
 *
 *  npm run bench -- several etcd|mariadb|postgres|<url> [count] */
import { execFile } from "node:child_process"
import { loadavg } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import {
  type BenchServer,
  endpointOf,
  KEYTURN,
  loadSecrets,
  machine,
  median,
  newDataDir,
  startServer,
} from "./lib.ts"

const [, , engine = "etcd", count = "10000"] = process.argv
const ROUNDS = 3
const SERVERS = ["s1", "s2", "s3"]
const PAUSE_MS = 50
const SECRETS = "/api/v1/namespaces/default/secrets"

const run = promisify(execFile)
await using stack = new AsyncDisposableStack()
const endpoint = await endpointOf(engine, stack)
const servers: BenchServer[] = []
for (const name of SERVERS) servers.push(await startOn(endpoint, name))
const [first] = servers
if (first === undefined) throw new Error("no servers")
await loadSecrets(first, { count: Number(count) })

const over = new AbortController()
const requests: number[] = []
const clients = servers.map((server, n) => lightLoad(server, `light-${n}`))
const seconds: number[] = []
for (let round = 0; round < ROUNDS; round++) {
  const started = performance.now()
  await run(KEYTURN, ["secrets-encrypt", "rotate-keys", "--data-dir", first.dataDir])
  seconds.push((performance.now() - started) / 1000)
}
over.abort()
await Promise.all(clients)
console.log(
  `${machine()}, load ${loadavg()
    .map((load) => load.toFixed(1))
    .join(" ")}`,
)
console.log(new Date().toISOString())
console.log(
  `rotate-keys, ${count} Secrets of 1 KiB, three servers on ${engine.replace(/:.*/, "")}:`,
)
console.log(`  each of ${ROUNDS}, slowest last        ${inSeconds(seconds)}`)
console.log(`  median                     ${inSeconds([median(seconds)])}`)
console.log(
  `  requests meanwhile         ${requests.length}, median ${ms(median(requests))}, slowest ${ms(Math.max(...requests))}`,
)

async function startOn(url: string, name: string): Promise<BenchServer> {
  const dir = newDataDir()
  stack.defer(dir.remove)
  const args = ["--node-name", name, "--token", "three-servers-0ne-token"]
  const server = await startServer(dir.path, { args, env: { KEYTURN_DATASTORE_ENDPOINT: url } })
  stack.defer(() => server.stop())
  return server
}

/** Writes one Secret again and again, and reads it. Throws where a request fails. */
async function lightLoad({ call }: BenchServer, name: string): Promise<void> {
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name } }
  await timed(() => call("POST", SECRETS, secret))
  while (!over.signal.aborted) {
    await timed(() => call("PUT", `${SECRETS}/${name}`, secret))
    await timed(() => call("GET", `${SECRETS}/${name}`))
    await sleep(PAUSE_MS)
  }
}

async function timed(request: () => ReturnType<BenchServer["call"]>): Promise<void> {
  const started = performance.now()
  const { status, body } = await request()
  if (status >= 300) throw new Error(`${status}: ${body}`)
  requests.push(performance.now() - started)
}

function inSeconds(numbers: readonly number[]): string {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted.map((number) => `${number.toFixed(1)} s`).join(", ")
}

function ms(number: number): string {
  return `${number.toFixed(0)} ms`
}
