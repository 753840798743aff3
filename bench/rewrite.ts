/** How fast does `rotate-keys` rewrite Secrets of 1 KiB on a database server, beside a raw client's batched writes of the same bytes?
 *
 *  Ours is end to end, the command as a user runs it: both passes, the proof, the clearing; and of that the first pass by itself, which reads, opens,
 *  seals and writes every value. The raw client has ready what it writes: on etcd transactions of 127 compare-and-swap puts, four in flight; in SQL
 *  an UPDATE of 500 rows by their ids, one transaction each. Then it does the work of a pass, and reads, opens and seals as well, in one thread.
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
const copies = await raw.copySecrets()

const seconds = {
  whole: [] as number[],
  pass: [] as number[],
  write: [] as number[],
  reseal: [] as number[],
}
for (let round = 0; round < ROUNDS; round++) {
  seconds.write.push((await copies.write()).seconds)
  seconds.reseal.push((await copies.reseal()).seconds)
  const started = performance.now()
  const rotate = ["secrets-encrypt", "rotate-keys", "--data-dir", dir.path]
  const [pass] = await Promise.all([firstPass(), promisify(execFile)(KEYTURN, rotate)])
  seconds.whole.push((performance.now() - started) / 1000)
  seconds.pass.push(pass.seconds)
}
const rate = (took: number[]) => Number(count) / median(took)
const [whole, pass] = [rate(seconds.whole), rate(seconds.pass)]
const [write, reseal] = [rate(seconds.write), rate(seconds.reseal)]
const line = (label: string, value: string) => console.log(`  ${label.padEnd(46)}${value}`)
console.log(`${machine()}, ${new Date().toISOString()}, load ${loadavg()[0]?.toFixed(1)}`)
console.log(
  `rotate-keys on ${engine.replace(/:.*/, "")}, ${count} Secrets of 1 KiB, median of ${ROUNDS}:`,
)
line("keyturn, command to command", `${whole.toFixed(0)} Secrets/s`)
line("of that the first pass", `${pass.toFixed(0)} Secrets/s`)
line("raw client, writes what it has ready", `${write.toFixed(0)} Secrets/s`)
line("raw client, reads, opens, seals and writes", `${reseal.toFixed(0)} Secrets/s`)
line("command beside the raw writes", (whole / write).toFixed(2))
line("first pass beside the raw writes", (pass / write).toFixed(2))
line("first pass beside the raw client's same work", (pass / reseal).toFixed(2))

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
