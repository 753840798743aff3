/** What do creates and reads cost on a database server, beside a raw client of it that does the same durable writes and the same reads?
 *
 *  Three rows of figures a question: the raw client, the store alone, and the server over HTTPS with encryption and all. Values of 1 KiB.
 *  The load, the engine and the server share the machine; all sides take turns in each round.
 *
 *  npm run bench -- engine etcd|mariadb|postgres|<url> */
import { randomBytes } from "node:crypto"
import { loadavg } from "node:os"
import { pino } from "pino"
import { openNow } from "../src/server/datastore.ts"
import {
  administrator,
  endpointOf,
  loadSecrets,
  machine,
  median,
  newDataDir,
  startServer,
} from "./lib.ts"
import { requestBytes, run } from "./load.ts"
import { datastore, rawClient } from "./raw.ts"

const ROUNDS = 5
const CLIENTS = [1, 32]
const READ = 1_000
const UNITS = { create: 1_500, get: 6_000 }
const SECRETS = "/api/v1/namespaces/default/secrets"
const [, , engine = "etcd"] = process.argv

/** Does `units` of something with `clients` at once; returns how many a second. */
type Side = (of: { units: number; clients: number; round: number }) => Promise<number>

await using stack = new AsyncDisposableStack()
const endpoint = await endpointOf(engine, stack)
const dir = newDataDir()
stack.defer(dir.remove)
const server = await startServer(dir.path, { env: { KEYTURN_DATASTORE_ENDPOINT: endpoint } })
stack.defer(() => server.stop())
await loadSecrets(server, { count: READ })
const store = await openNow(datastore(endpoint), pino({ level: "warn" }))
stack.defer(() => store.close())
const raw = await rawClient(endpoint)
stack.defer(() => raw.end())
const fence = await store.fence()
const value = randomBytes(1400)
const name = (n: number): string => `bench-${String(n % READ).padStart(7, "0")}`
await Promise.all(Array.from({ length: READ }, (_, n) => raw.create(name(n), value)))

/** One after the other, by each client. */
const inProcess =
  (work: (of: { n: number; round: string }) => Promise<unknown>): Side =>
  async ({ units, clients, round }) => {
    const started = performance.now()
    let next = 0
    const client = async () => {
      for (let n = next++; n < units; n = next++) await work({ n, round: `${round}-${clients}` })
    }
    await Promise.all(Array.from({ length: clients }, client))
    return (units / (performance.now() - started)) * 1000
  }

const overHttps =
  (request: (of: { n: number; round: string }) => Buffer): Side =>
  async ({ units, clients, round }) => {
    const next = (n: number) =>
      n < units ? request({ n, round: `${round}-${clients}` }) : undefined
    const port = Number(new URL(server.url).port)
    const certificate = administrator(dir.path)
    return (await run({ port, certificate, connections: clients, request: next })).perSecond
  }

const secret = (name: string): string =>
  JSON.stringify({
    kind: "Secret",
    apiVersion: "v1",
    metadata: { name },
    data: { value: randomBytes(1024).toString("base64") },
  })

const QUESTIONS: Record<keyof typeof UNITS, Record<"raw" | "store" | "server", Side>> = {
  create: {
    raw: inProcess(({ n, round }) => raw.create(`raw-${round}-${n}`, value)),
    store: inProcess(({ n, round }) =>
      store.create({ key: `/registry/secrets/store/s-${round}-${n}`, value, fence }),
    ),
    server: overHttps(({ n, round }) =>
      requestBytes({ method: "POST", path: SECRETS, body: secret(`s-${round}-${n}`) }),
    ),
  },
  get: {
    raw: inProcess(({ n }) => raw.get(name(n))),
    store: inProcess(({ n }) => store.get(`/registry/secrets/default/${name(n)}`)),
    server: overHttps(({ n }) => requestBytes({ method: "GET", path: `${SECRETS}/${name(n)}` })),
  },
}

console.log(`${machine()}, ${new Date().toISOString()}, load ${loadavg()[0]?.toFixed(1)}`)
for (const [question, sides] of Object.entries(QUESTIONS))
  for (const clients of CLIENTS) {
    const units = UNITS[question as keyof typeof UNITS] / (clients === 1 ? 4 : 1)
    const rates: Record<string, number[]> = { raw: [], store: [], server: [] }
    for (let round = 0; round < ROUNDS; round++)
      for (const [side, rate] of Object.entries(sides))
        rates[side]?.push(await rate({ units, clients, round }))
    const [raw = 0, ...ours] = Object.values(rates).map(median)
    const shown = ours.map(
      (rate) => `${rate.toFixed(0).padStart(6)}/s (${(rate / raw).toFixed(2)})`,
    )
    console.log(
      `${engine.replace(/:.*/, "")} ${question}, ${clients} at once: raw ${raw.toFixed(0).padStart(6)}/s, store ${shown[0]}, server ${shown[1]}`,
    )
  }
