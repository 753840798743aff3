/** What the store costs beside a raw client of the same PostgreSQL or MariaDB: node bench/sql.ts mysql://…
 *  One line a question: ours, bare, ratio. The bare side has the same table, values of 1 KiB, connections and durability,
 *  and does nothing else. The database must be empty, or one of this benchmark's own. */
import { createPool } from "mysql2/promise"
import { Pool } from "pg"
import { pino } from "pino"
import { type Datastore, datastoreOf, openNow } from "../src/server/datastore.ts"
import { NO_TLS_FILES as tls } from "../src/store/tls-files.ts"
import { machine, median } from "./lib.ts"

const CREATES = 2_000
const GETS = 8_000
const LISTED = 1_000
const CLIENTS = 16
const ROUNDS = 5
const value = Buffer.alloc(1024, "x")

/** A pool of prepared statements. */
interface Bare {
  readonly table: string
  run(text: string, values?: (string | Buffer)[]): Promise<unknown>
  end(): Promise<void>
}

function bareClient(datastore: Datastore): Bare {
  if (!("address" in datastore))
    throw new Error("for SQLite there is bench/store.ts, for etcd bench/etcd.ts")
  const { host, port, user, password, database } = datastore.address
  const login = { host, port, user, password, database }
  if (datastore.kind === "mysql") {
    const pool = createPool({ ...login, connectionLimit: CLIENTS, rowsAsArray: true })
    return {
      table: "CREATE TABLE bare LIKE kine",
      run: (text, values) => pool.execute(text, values),
      end: () => pool.end(),
    }
  }
  const pool = new Pool({ ...login, max: CLIENTS, pipeline: true })
  return {
    table: "CREATE TABLE bare (LIKE kine INCLUDING ALL)",
    run(text, values = []) {
      let place = 0
      const numbered = text.replace(/\?/g, () => `$${(place += 1)}`)
      return pool.query({ name: text, text: numbered, values })
    },
    end: () => pool.end(),
  }
}

type Work = (name: string) => Promise<unknown>

/** Units a second of both, the medians of some rounds in turn. */
async function compare(
  question: string,
  { units, clients, ...work }: { units: number; clients: number; ours: Work; bare: Work },
): Promise<void> {
  const rates = { ours: [] as number[], bare: [] as number[] }
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const side of ["bare", "ours"] as const) {
      let next = 0
      const start = performance.now()
      const client = async () => {
        for (let index = next++; index < units; index = next++)
          await work[side](`${round}-${index}`)
      }
      await Promise.all(Array.from({ length: clients }, client))
      rates[side].push((units / (performance.now() - start)) * 1000)
    }
  }
  const [ours, bare] = [median(rates.ours), median(rates.bare)]
  const shown = [ours, bare].map((rate) => `${Math.round(rate)}/s`.padStart(8))
  const ratio = (ours / bare).toFixed(2)
  process.stdout.write(
    `${question.padEnd(28)} ours ${shown[0]}   bare ${shown[1]}   ratio ${ratio}\n`,
  )
}

const [text = ""] = process.argv.slice(2)
const datastore = datastoreOf({ text, where: "the argument" }, { standard: "", tls })
const bare = bareClient(datastore)
const store = await openNow(datastore, pino({ level: "warn" }))
const run = process.pid
await bare.run("DROP TABLE IF EXISTS bare")
await bare.run(bare.table)
const fence = "bench"
await store.step({ compare: [], fence: { expected: (await store.fence()) ?? null, next: fence } })
process.stdout.write(`${machine()}\n`)

const INSERT = `INSERT INTO bare (name, created, deleted, create_revision, prev_revision, lease, value)
  VALUES (?, 1, 0, 0, 0, 0, ?)`
const GET = "SELECT id, value FROM bare WHERE name = ? ORDER BY id DESC LIMIT 1"
const key = (name: string): string => `/registry/secrets/default/${run}-${name}`
const listed = (name: string): string => key(`listed-${Number(name.split("-")[1]) % LISTED}`)

for (const clients of [1, CLIENTS]) {
  await compare(`durable create, ${clients} at once`, {
    units: clients === 1 ? CREATES >> 2 : CREATES,
    clients,
    bare: (name) => bare.run(INSERT, [key(`${clients}-${name}`), value]),
    ours: (name) => store.create({ key: key(`${clients}-${name}`), value, fence }),
  })
}
for (let index = 0; index < LISTED; index += 1) {
  const name = listed(`0-${index}`)
  await Promise.all([bare.run(INSERT, [name, value]), store.create({ key: name, value, fence })])
}
for (const clients of [1, CLIENTS]) {
  await compare(`get by key, ${clients} at once`, {
    units: clients === 1 ? GETS >> 2 : GETS,
    clients,
    bare: (name) => bare.run(GET, [listed(name)]),
    ours: (name) => store.get(listed(name)),
  })
}

await store.close()
await bare.end()
