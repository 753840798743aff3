/** Does a rotation slow the API down? The p99 of GET and of create while `rotate-keys` runs, beside those of the same server at rest.
 *
 *  Requests come at their own times, about 100 GETs and 20 creates a second, whether earlier ones were answered or not: who waits counts in
 *  full. Engines named here are started here, and sync to the disk as they do by themselves.
 *
 *  npm run bench -- quiet [sqlite|etcd|mariadb|postgres|<url>] [count] */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { randomBytes } from "node:crypto"
import { loadavg } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import {
  endpointOf,
  filledDataDir,
  KEYTURN,
  loadSecrets,
  machine,
  median,
  newDataDir,
  startServer,
} from "./lib.ts"

const [, , engine = "sqlite", count = "50000"] = process.argv
const ROUNDS = 5
const REST_MS = 10_000
/** After which no request counts any more that a fork held up. */
const SETTLE_MS = 1_000
const GETS_A_SECOND = 100
const CREATES_A_SECOND = 20
const SECRETS = "/api/v1/namespaces/default/secrets"

await using stack = new AsyncDisposableStack()
const server = await start()
const kinds = { GET: [] as number[], create: [] as number[] }
let created = 0
const over = new AbortController()
const load = Promise.all([
  arrivals(GETS_A_SECOND, kinds.GET, () =>
    server.call("GET", `${SECRETS}/bench-${String(randomBelow(Number(count))).padStart(7, "0")}`),
  ),
  arrivals(CREATES_A_SECOND, kinds.create, () =>
    server.call("POST", SECRETS, {
      kind: "Secret",
      apiVersion: "v1",
      metadata: { name: `quiet-${created++}` },
      data: { value: randomBytes(1024).toString("base64") },
    }),
  ),
])
const rounds: { atRest: Percentiles; rotating: Percentiles; seconds: number }[] = []
for (let round = 0; round <= ROUNDS; round++) {
  const rotation = rotationToBegin()
  await sleep(SETTLE_MS)
  taken()
  await sleep(REST_MS)
  const atRest = taken()
  const started = performance.now()
  await rotation.begin()
  const seconds = (performance.now() - started) / 1000
  // The first round warms up.
  if (round > 0) rounds.push({ atRest, rotating: taken(), seconds })
}
over.abort()
await load

console.log(
  `${machine()}, ${new Date().toISOString().slice(0, 10)}, load ${loadavg()[0]?.toFixed(1)}`,
)
const took = median(rounds.map(({ seconds }) => seconds)).toFixed(1)
console.log(
  `${count} Secrets of 1 KiB on ${engine.replace(/:.*/, "")}, median of ${ROUNDS}; a rotation took ${took} s`,
)
for (const kind of ["GET", "create"] as const) {
  const ms = (side: "atRest" | "rotating") => median(rounds.map((each) => each[side][kind]))
  const ratio = median(rounds.map(({ atRest, rotating }) => rotating[kind] / atRest[kind]))
  console.log(
    `  p99 of ${kind.padEnd(6)}  at rest ${ms("atRest").toFixed(1)} ms  rotating ${ms("rotating").toFixed(1)} ms  ratio ${ratio.toFixed(2)}`,
  )
}

async function start() {
  if (engine === "sqlite") {
    const dir = await filledDataDir(Number(count))
    stack.defer(dir.remove)
    const filled = await startServer(dir.path)
    stack.defer(() => filled.stop())
    return filled
  }
  const dir = newDataDir()
  stack.defer(dir.remove)
  const endpoint = await endpointOf(engine, stack)
  const empty = await startServer(dir.path, { env: { KEYTURN_DATASTORE_ENDPOINT: endpoint } })
  stack.defer(() => empty.stop())
  await loadSecrets(empty, { count: Number(count) })
  return empty
}

/** The command in a process that waits already: to make one holds this one up, which measures. */
function rotationToBegin(): { begin: () => Promise<void> } {
  const argv = [KEYTURN, "secrets-encrypt", "rotate-keys", "--data-dir", server.dataDir]
  const child = spawn("sh", ["-c", 'read begin && exec "$@"', "sh", ...argv], {
    stdio: ["pipe", "ignore", "inherit"],
  })
  const ended = once(child, "exit")
  return {
    async begin() {
      child.stdin.end("\n")
      const [code] = (await ended) as [number | null]
      if (code !== 0) throw new Error(`rotate-keys ended with ${String(code)}`)
    },
  }
}

/** Sends at random moments, `rate` a second in the mean, and keeps the milliseconds of each. */
async function arrivals(
  rate: number,
  times: number[],
  request: () => ReturnType<typeof server.call>,
): Promise<void> {
  const underWay = new Set<Promise<void>>()
  for (let at = performance.now(); !over.signal.aborted; ) {
    at += (-Math.log(1 - Math.random()) / rate) * 1000
    await sleep(Math.max(0, at - performance.now()))
    const due = at
    const one = request().then(({ status, body }) => {
      if (status >= 300) throw new Error(`${status}: ${body}`)
      times.push(performance.now() - due)
    })
    underWay.add(one)
    void one.finally(() => underWay.delete(one))
  }
  await Promise.all(underWay)
}

interface Percentiles {
  readonly GET: number
  readonly create: number
}

/** Of what was answered since the last call. */
function taken(): Percentiles {
  return { GET: p99(kinds.GET.splice(0)), create: p99(kinds.create.splice(0)) }
}

function p99(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.ceil(times.length * 0.99) - 1] ?? Number.NaN
}

function randomBelow(limit: number): number {
  return Math.floor(Math.random() * limit)
}
