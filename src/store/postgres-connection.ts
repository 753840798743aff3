/** The connections to one PostgreSQL database: a bounded pool for statements, and single ones for what must not share.
 *  Every connection has the same session, and none is used on a server that would lose what it acknowledged. */
import { Socket } from "node:net"
import type { ConnectionOptions } from "node:tls"
import {
  Client,
  type ClientBase,
  DatabaseError,
  escapeIdentifier,
  Pool,
  type PoolClient,
  types,
} from "pg"
import { KnownError } from "../errors.ts"
import { isConnectionSound, postgresError } from "./postgres-errors.ts"
import { type PostgresAddress, tlsWays } from "./postgres-url.ts"
import type { Columns } from "./sql-table.ts"
import { type TlsFiles, tlsOf } from "./tls-files.ts"

const CONNECTIONS_MAX = 16
const CONNECT_TIMEOUT_MS = 5_000
const STATEMENT_TIMEOUT_MS = 10_000
/** Longer than the server's own limit: it is met only where the server or the way to it stands still. */
const ANSWER_TIMEOUT_MS = 12_000
const IDLE_TIMEOUT_MS = 60_000
/** A server that stands still takes no leave; this is how long a close waits for it. */
const CLOSE_TIMEOUT_MS = 2_000
const VERSION_MIN = 130_000

const NO_SUCH_DATABASE = "3D000"
/** Found when it began, and when another server created it meanwhile. */
const DATABASE_EXISTS = ["42P04", "23505"]

const SESSION = `
SET idle_in_transaction_session_timeout = '2s';
SET statement_timeout = ${STATEMENT_TIMEOUT_MS};
SET default_transaction_isolation = 'read committed';
SET client_min_messages = 'warning';
SET bytea_output = 'hex';
SELECT current_setting('synchronous_commit'), current_setting('server_version_num')::int`

const BYTEA = 17

const parsers: typeof types = {
  ...types,
  getTypeParser: ((oid: number) => {
    if (oid === BYTEA) return bytesOf
    return types.getTypeParser(oid, "text") as (text: string) => unknown
  }) as typeof types.getTypeParser,
}

function bytesOf(text: string): Buffer {
  if (text.startsWith("\\x")) return Buffer.from(text.slice(2), "hex")
  throw new KnownError("StoreUnavailable", "bytea_output is not hex; is a pooler in between?")
}

interface Settings {
  readonly address: PostgresAddress
  /** Asked for each connection. */
  readonly ssl: () => ConnectionOptions | false
}

const config = ({ address, ssl }: Settings) => ({
  host: address.host,
  port: address.port,
  user: address.user,
  password: address.password,
  database: address.database,
  ssl: ssl(),
  application_name: "keyturn",
  connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  query_timeout: ANSWER_TIMEOUT_MS,
  keepAlive: true,
  types: parsers,
  // An answer that is too late ends the connection, so that it can never be taken for that of the next statement.
  pipeline: true,
})

export class Connections {
  /** For messages: which database, without credentials. */
  readonly where: string
  readonly #settings: Settings
  readonly #sockets = new Set<Socket>()
  readonly #pool: Pool

  private constructor(settings: Settings) {
    this.#settings = settings
    this.where = describe(settings.address)
    const connected = () => this.#config()
    this.#pool = new Pool({
      ...connected(),
      Client: class extends Client {
        constructor() {
          super(connected())
        }
      },
      max: CONNECTIONS_MAX,
      idleTimeoutMillis: IDLE_TIMEOUT_MS,
      // The pool waits for it and passes its failure on; the type knows neither.
      onConnect: (client) => this.#prepare(client) as unknown as undefined,
    })
    this.#pool.on("error", () => {}) // an idle connection ended: the next statement takes another
  }

  /** Creates the database where it is missing. */
  static async open(address: PostgresAddress, files: TlsFiles): Promise<Connections> {
    const given = tlsOf(files, "PostgreSQL")
    return new Connections(await firstWay(address, () => tlsWays(address, given())))
  }

  /** One statement: one round trip, one transaction. */
  query(text: string, values: readonly unknown[] = []): Promise<Columns[]> {
    return this.#use(isConnectionSound, async (client) => {
      const query = { text, values: [...values], rowMode: "array" as const }
      return (await client.query<unknown[]>(query)).rows
    })
  }

  /** Statements without parameters, in one message: no transaction waits for the client between them. One that failed
   *  may leave its transaction open, so the connection goes with it. */
  script(text: string): Promise<void> {
    const never = () => false
    return this.#use(never, async (client) => void (await client.query(text)))
  }

  /** A connection of its own; whoever takes it ends it. */
  async single(limits: { readonly isUnlimited?: boolean } = {}): Promise<Client> {
    const settings = this.#config()
    const client = new Client(limits.isUnlimited ? { ...settings, query_timeout: 0 } : settings)
    client.on("error", () => {}) // connect() tells of it
    try {
      await client.connect()
      await this.#prepare(client)
      if (limits.isUnlimited) await client.query("SET statement_timeout = 0")
      return client
    } catch (error) {
      await client.end().catch(() => {})
      throw this.error(error, { sent: false })
    }
  }

  error(error: unknown, { sent }: { readonly sent: boolean }): unknown {
    return postgresError(error, { where: this.where, sent })
  }

  async close(): Promise<void> {
    const late = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, CLOSE_TIMEOUT_MS)
    await this.#pool.end()
    const isClosed = (socket: Socket) => new Promise((resolve) => socket.once("close", resolve))
    await Promise.all(Array.from(this.#sockets, isClosed))
    clearTimeout(late)
  }

  #config() {
    const stream = (): Socket => {
      const socket = new Socket()
      this.#sockets.add(socket)
      return socket.once("close", () => this.#sockets.delete(socket))
    }
    return { ...config(this.#settings), stream }
  }

  async #use<T>(
    staysSound: (error: unknown) => boolean,
    action: (client: PoolClient) => Promise<T>,
  ): Promise<T> {
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw this.error(error, { sent: false })
    })
    try {
      const result = await action(client)
      client.release()
      return result
    } catch (error) {
      client.release(!staysSound(error))
      throw this.error(error, { sent: true })
    }
  }

  async #prepare(client: ClientBase): Promise<void> {
    client.on("error", () => {}) // it ended: the statement under way, or the next one, tells of it
    const answers = (await client.query({ text: SESSION, rowMode: "array" })) as unknown as {
      rows: [string, number][]
    }[]
    const [commit, version] = answers.at(-1)?.rows[0] ?? []
    if (commit === "off") {
      throw this.#refused("synchronous_commit is off", "a crash would lose what was acknowledged")
    }
    if (version === undefined || version < VERSION_MIN) {
      throw this.#refused(
        `the server's version is ${version}`,
        `${VERSION_MIN} is the oldest served`,
      )
    }
  }

  #refused(seen: string, why: string): KnownError {
    return new KnownError("ConfigInvalid", `${this.where}: ${seen}; ${why}`)
  }
}

const describe = ({ host, port, database }: PostgresAddress): string =>
  `PostgreSQL database ${database} at ${host}:${port}`

/** With the first way to speak TLS that the server takes. */
async function firstWay(
  address: PostgresAddress,
  ways: () => readonly (ConnectionOptions | false)[],
): Promise<Settings> {
  for (const index of ways().keys()) {
    const settings = { address, ssl: () => ways()[index] ?? false }
    try {
      await connectOnce(settings)
      return settings
    } catch (error) {
      const isRefused = error instanceof Error && error.message.includes("does not support SSL")
      if (isRefused && index < ways().length - 1) continue
      throw postgresError(error, { where: describe(address), sent: false })
    }
  }
  throw new Error("no way to speak to a server")
}

async function connectOnce(settings: Settings): Promise<void> {
  const client = new Client(config(settings))
  client.on("error", () => {}) // connect() tells of it
  try {
    await client.connect()
  } catch (error) {
    const isMissing = error instanceof DatabaseError && error.code === NO_SUCH_DATABASE
    if (!isMissing) throw error
    await createDatabase(settings)
  } finally {
    await client.end().catch(() => {})
  }
}

/** As kine does: over the database that every server has. */
async function createDatabase({ address, ssl }: Settings): Promise<void> {
  const client = new Client({ ...config({ address, ssl }), database: "postgres" })
  client.on("error", () => {}) // the query tells of it
  try {
    await client.connect()
    await client.query(`CREATE DATABASE ${escapeIdentifier(address.database)}`)
  } catch (error) {
    const exists = error instanceof DatabaseError && DATABASE_EXISTS.includes(error.code ?? "")
    if (!exists) throw error
  } finally {
    await client.end().catch(() => {})
  }
}
