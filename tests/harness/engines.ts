/** The engines that several servers may share. A test that needs only one of them is dealt one by a seed, which is printed:
 *  KEYTURN_TEST_ENGINE names one, KEYTURN_TEST_SEED deals the same again. */
import { Etcd } from "./etcd.ts"
import { Mariadb } from "./mariadb.ts"
import { Postgres } from "./postgres.ts"
import { missing } from "./programs.ts"
import { random } from "./random.ts"

export interface Engine extends AsyncDisposable {
  readonly name: string
  /** Another datastore at each call, empty. */
  newDatastore(): Promise<Datastore>
  stop(): Promise<void>
  start(): Promise<void>
}

export interface Datastore {
  /** As `--datastore-endpoint` takes it. */
  readonly endpoint: string
  /** How many stored byte strings of Secrets are under what: `aescbc:v1:aescbckey`, or `plain`. In SQL history too. */
  censusOfSecrets(): Promise<Record<string, number>>
}

async function postgres(): Promise<Engine> {
  const server = await Postgres.start()
  let databases = 0
  return {
    name: "postgres",
    async newDatastore() {
      const database = `several_${++databases}`
      return {
        endpoint: server.url(database),
        censusOfSecrets: () => server.censusOfSecrets(database),
      }
    },
    start: () => server.start(),
    stop: () => server.stop("SIGQUIT"),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

async function mariadb(): Promise<Engine> {
  const server = await Mariadb.start()
  let databases = 0
  return {
    name: "mariadb",
    async newDatastore() {
      const database = `several_${++databases}`
      return {
        endpoint: server.url(database),
        censusOfSecrets: () => server.censusOfSecrets(database),
      }
    },
    start: () => server.start(),
    stop: () => server.crash(),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

async function etcd(): Promise<Engine> {
  const server = await Etcd.start()
  return {
    name: "etcd",
    async newDatastore() {
      await server.deleteAll()
      return { endpoint: server.endpoint, censusOfSecrets: () => server.censusOfSecrets() }
    },
    start: () => server.start(),
    stop: () => server.stop("SIGKILL"),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

const ENGINES = { etcd, mariadb, postgres } as const

type EngineName = keyof typeof ENGINES
export const ENGINE_NAMES = Object.keys(ENGINES) as EngineName[]

/** Undefined where its programs are not installed, with the reason told. */
export async function dealEngine(): Promise<Engine | undefined> {
  const seed = Number(process.env.KEYTURN_TEST_SEED ?? Math.floor(Math.random() * 1e6))
  const dealt = ENGINE_NAMES[Math.floor(random(seed)() * ENGINE_NAMES.length)]
  const name = ENGINE_NAMES.find((known) => known === process.env.KEYTURN_TEST_ENGINE) ?? dealt
  console.info(`engine=${name} seed=${seed}`)
  if (name === undefined || (await missing(name)) !== undefined) return undefined
  return ENGINES[name]()
}
