/** How fast does `rotate-keys` rewrite Secrets of 1 KiB on a database server, beside a raw client's batched writes of the same bytes?
 *
 *  Ours is end to end, the command as a user runs it: both passes, the proof, the clearing; and of that the first pass by itself, which reads, opens,
 *  seals and writes every value. The raw client has ready what it writes: on etcd transactions of 127 compare-and-swap puts, four in flight; in SQL
 *  an UPDATE of 500 rows by their ids, one transaction each.
 *
 *  npm run bench -- rewrite etcd|mariadb|postgres|<url> [count] */
import { execFile } from "node:child_process"
import { loadavg } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import type { Operation } from "../src/rotation/operation.ts"
import {
  endpointOf,
  KEYTURN,
  loadSecrets,
  machine,
  median,
  newDataDir,
  startServer,
} from "./lib.ts"
import { rawClient } from "./raw.ts"

const [, , engine = "etcd", count = "50000"] = process.argv
const LOOK_MS = 50
const ROUNDS = Number(process.env.ROUNDS ?? 5)

await using stack = new AsyncDisposableStack()
const endpoint = await endpointOf(engine, stack)
const dir = newDataDir()
stack.defer(dir.remove)
const server = await startServer(dir.path, { env: { KEYTURN_DATASTORE_ENDPOINT: endpoint } })
stack.defer(() => server.stop())
await loadSecrets(server, { count: Number(count) })
const raw = await rawClient(endpoint)
stack.defer(() => raw.end())
const rewriteRaw = await raw.copySecrets()

const rates = { ours: [] as number[], pass: [] as number[], raw: [] as number[] }
for (let round = 0; round < ROUNDS; round++) {
  rates.raw.push(Number(count) / (await rewriteRaw()).seconds)
  const started = performance.now()
  const rotate = ["secrets-encrypt", "rotate-keys", "--data-dir", dir.path]
  const [pass] = await Promise.all([firstPass(), promisify(execFile)(KEYTURN, rotate)])
  rates.ours.push(Number(count) / ((performance.now() - started) / 1000))
  rates.pass.push(Number(count) / pass.seconds)
}
const [ours, pass, bare] = [median(rates.ours), median(rates.pass), median(rates.raw)]
console.log(`${machine()}, ${new Date().toISOString()}, load ${loadavg()[0]?.toFixed(1)}`)
console.log(
  `rotate-keys on ${engine.replace(/:.*/, "")}, ${count} Secrets of 1 KiB, median of ${ROUNDS}:`,
)
console.log(`  keyturn, command to command   ${ours.toFixed(0)} Secrets/s`)
console.log(`  of that the first pass        ${pass.toFixed(0)} Secrets/s`)
console.log(`  raw client, batched writes    ${bare.toFixed(0)} Secrets/s`)
console.log(`  ratio                         ${(ours / bare).toFixed(2)}`)
console.log(`  ratio of the first pass       ${(pass / bare).toFixed(2)}`)

/** How long the next operation is in its first pass, as a server tells whoever asks. */
async function firstPass(): Promise<{ seconds: number }> {
  const seen = async () => {
    const { body } = await server.call("GET", "/v1-keyturn/encrypt/operation")
    return JSON.parse(body) as Operation | null
  }
  const before = await seen()
  const until = async (reached: (operation: Operation) => boolean): Promise<number> => {
    for (;;) {
      const operation = await seen()
      if (operation !== null && operation.id !== before?.id && reached(operation))
        return performance.now()
      await sleep(LOOK_MS)
    }
  }
  const began = await until(() => true)
  const ended = await until((operation) => operation.pass === 2)
  return { seconds: (ended - began) / 1000 }
}
