/** The engines that several servers may share. A test that needs only one of them is dealt one by a seed, which is printed:
 *  KEYTURN_TEST_ENGINE names one, KEYTURN_TEST_SEED deals the same again. */
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { FENCE, OWN } from "../../src/store/etcd-keys.ts"
import type { KeyValue } from "../../src/store/etcd-messages.ts"
import { decodeOperation, type Operation } from "../../src/rotation/operation.ts"
import type { RecordName } from "../../src/store/store.ts"
import type { Way } from "./cut.ts"
import { Etcd } from "./etcd.ts"
import { Mariadb } from "./mariadb.ts"
import { Postgres } from "./postgres.ts"
import { missing } from "./programs.ts"
import { random } from "./random.ts"
import { censusOf } from "./stored.ts"

export interface Engine extends AsyncDisposable {
  readonly name: string
  /** Where it listens; a {@link Way} may lead there. */
  readonly port: number
  /** Another datastore at each call, empty. */
  newDatastore(): Promise<Copied>
  /** As a crash of it looks. */
  stop(): Promise<void>
  start(): Promise<void>
}

/** A copy of a datastore, made and put back by the engine's own means. */
export interface Snapshot {
  /** All of it in the place of what is there, in one transaction where the engine has them; servers may run. */
  putBack(): Promise<void>
  /** The Secrets alone. */
  putBackSecrets(): Promise<void>
}

export interface Datastore {
  /** As `--datastore-endpoint` takes it. */
  readonly endpoint: string
  /** Every stored byte string of a Secret. In SQL history and old values too. */
  secrets(): Promise<StoredSecret[]>
  /** How many of them are under what: `aescbc:v1:aescbckey`, or `plain`. */
  censusOfSecrets(): Promise<Record<string, number>>
  /** As it is stored. */
  record(name: RecordName): Promise<Buffer | undefined>
  fence(): Promise<string | undefined>
  /** The record of the running rewrite or the last one. */
  operation(): Promise<Operation | undefined>
  /** Whether a live value is at `key`. */
  has(key: string): Promise<boolean>
}

/** One that the database's own tools can copy and put back. */
export interface Copied extends Datastore {
  snapshot(): Promise<Snapshot>
}

export interface StoredSecret {
  readonly key: string
  readonly bytes: Buffer
}

/** The same datastore over a {@link Way}. */
export const through = ({ endpoint }: Datastore, { port }: Engine, way: Way): string =>
  endpoint.replace(`:${port}`, `:${way.port}`)

function sql(name: EngineName, server: Postgres | Mariadb): Engine {
  let databases = 0
  return {
    name,
    port: server.port,
    async newDatastore() {
      const database = `several_${++databases}`
      return { ...databaseOf(server, database), snapshot: () => server.snapshot(database) }
    },
    start: () => server.start(),
    stop: () => server.crash(),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

export const databaseOf = (server: Postgres | Mariadb, database: string): Datastore =>
  sqlDatastore(server.url(database), (text) => server.query(database, text))

function sqlDatastore(endpoint: string, query: (text: string) => Promise<unknown[][]>): Datastore {
  const secrets = async () => {
    const rows = await query(
      "SELECT name, value, old_value FROM kine WHERE name LIKE '/registry/secrets/%'",
    )
    return rows.flatMap(([key, ...stored]) =>
      stored.flatMap((bytes) => storedAt(String(key), bytes)),
    )
  }
  const record = async (name: RecordName) => {
    const [row] = await query(`SELECT value FROM keyturn_record WHERE name = '${name}'`)
    return row && Buffer.from(row[0] as Uint8Array)
  }
  return {
    endpoint,
    secrets,
    censusOfSecrets: async () => census(await secrets()),
    record,
    async fence() {
      const [row] = await query("SELECT fence FROM keyturn_fence")
      return row && String(row[0])
    },
    operation: async () => decoded(await record("operation")),
    async has(key) {
      const [row] = await query(
        `SELECT deleted FROM kine WHERE name = '${key}' ORDER BY id DESC LIMIT 1`,
      )
      return row !== undefined && Number(row[0]) === 0
    },
  }
}

/** That of a server without others, beside it: it may run. */
export function sqliteDatastore(dataDir: string): Datastore {
  const path = join(dataDir, "server/db/state.db")
  return sqlDatastore(`sqlite://${path}`, async (text) => {
    using database = new DatabaseSync(path, { readOnly: true })
    return database.prepare(text).all().map(Object.values)
  })
}

const decoded = (record: Buffer | undefined) => record && decodeOperation(record)

/** Where there is no such column, or nothing in it, PostgreSQL has NULL and MariaDB may have none of its bytes. */
const storedAt = (key: string, bytes: unknown): StoredSecret[] =>
  bytes instanceof Uint8Array && bytes.length > 0 ? [{ key, bytes: Buffer.from(bytes) }] : []

const census = (stored: readonly StoredSecret[]) => censusOf(stored.map(({ bytes }) => bytes))

async function etcd(...args: readonly string[]): Promise<Engine> {
  const server = await Etcd.start({ args })
  return {
    name: "etcd",
    port: server.port,
    async newDatastore() {
      await server.deleteAll()
      return { ...etcdDatastore([server]), snapshot: () => server.snapshot() }
    },
    start: () => server.start(),
    stop: () => server.stop("SIGKILL"),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

/** What its members hold; the first of them answers here. */
export const etcdDatastore = (members: readonly [Etcd, ...Etcd[]]): Datastore =>
  keysDatastore(members.map(({ endpoint }) => endpoint).join(","), (range) =>
    members[0].entries(range),
  )

export function keysDatastore(
  endpoint: string,
  entries: (range: { key: string; end?: string }) => Promise<KeyValue[]>,
): Datastore {
  const secrets = async () => {
    const found = await entries({ key: "/registry/secrets/", end: "/registry/secrets0" })
    return found.map(({ key, value }) => ({ key, bytes: value }))
  }
  const at = async (key: string) => (await entries({ key })).at(0)
  const record = async (name: RecordName) => (await at(OWN + name))?.value
  return {
    endpoint,
    secrets,
    censusOfSecrets: async () => census(await secrets()),
    record,
    fence: async () => (await at(FENCE))?.value.toString(),
    operation: async () => decoded(await record("operation")),
    has: async (key) => (await at(key)) !== undefined,
  }
}

const ENGINES = {
  etcd,
  mariadb: async (...settings) => sql("mariadb", await Mariadb.start(...settings)),
  postgres: async (...settings) => sql("postgres", await Postgres.start(...settings)),
} as const satisfies Record<string, (...settings: readonly string[]) => Promise<Engine>>

export type EngineName = "etcd" | "mariadb" | "postgres"
export const ENGINE_NAMES = Object.keys(ENGINES) as EngineName[]

/** `settings`: besides those of all tests, in the engine's own words. */
export const startEngine = (name: EngineName, settings: readonly string[] = []): Promise<Engine> =>
  ENGINES[name](...settings)

/** Printed by whoever deals by it. */
export const dealtSeed = (): number =>
  Number(process.env.KEYTURN_TEST_SEED ?? Math.floor(Math.random() * 1e6))

/** Undefined where its programs are not installed, with the reason told. */
export async function dealEngine(seed = dealtSeed()): Promise<Engine | undefined> {
  const dealt = ENGINE_NAMES[Math.floor(random(seed)() * ENGINE_NAMES.length)]
  const name = ENGINE_NAMES.find((known) => known === process.env.KEYTURN_TEST_ENGINE) ?? dealt
  console.info(`engine=${name} seed=${seed}`)
  if (name === undefined || (await missing(name)) !== undefined) return undefined
  return startEngine(name)
}
