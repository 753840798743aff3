/** How fast does `rotate-keys` rewrite Secrets of 1 KiB on a database server, beside a raw client's batched writes of the same bytes?
 *
 *  Ours is end to end, the command as a user runs it: both passes, the proof, the clearing. The raw client has ready what it writes: on etcd
 *  transactions of 127 compare-and-swap puts, four in flight; in SQL an UPDATE of 500 rows by their ids, one transaction each.
 *
 *  npm run bench -- rewrite etcd|mariadb|postgres|<url> [count] */
import { execFile } from "node:child_process"
import { loadavg } from "node:os"
import { promisify } from "node:util"
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

const rates = { ours: [] as number[], raw: [] as number[] }
for (let round = 0; round < ROUNDS; round++) {
  rates.raw.push(Number(count) / (await rewriteRaw()).seconds)
  const started = performance.now()
  await promisify(execFile)(KEYTURN, ["secrets-encrypt", "rotate-keys", "--data-dir", dir.path])
  rates.ours.push(Number(count) / ((performance.now() - started) / 1000))
}
const [ours, bare] = [median(rates.ours), median(rates.raw)]
console.log(`${machine()}, ${new Date().toISOString()}, load ${loadavg()[0]?.toFixed(1)}`)
console.log(
  `rotate-keys on ${engine.replace(/:.*/, "")}, ${count} Secrets of 1 KiB, median of ${ROUNDS}:`,
)
console.log(`  keyturn, command to command   ${ours.toFixed(0)} Secrets/s`)
console.log(`  raw client, batched writes    ${bare.toFixed(0)} Secrets/s`)
console.log(`  ratio                         ${(ours / bare).toFixed(2)}`)
