/** One connection to a MariaDB or MySQL server, with its session set and the server found fit.
 *
 *  An answer that is too late ends the connection, so that it can never be taken for that of the next statement. */
import { connect, type Socket } from "node:net"
import { type Connection, createConnection } from "mysql2"
import { KnownError } from "../errors.ts"
import { unfitness } from "./mysql-fitness.ts"
import type { MysqlAddress, MysqlTls } from "./mysql-url.ts"
import type { Columns } from "./sql-table.ts"

const CONNECT_TIMEOUT_MS = 5_000
const ANSWER_TIMEOUT_MS = 12_000
/** A server that stands still takes no leave; this is how long it is waited for. */
export const LEAVE_TIMEOUT_MS = 2_000

/** A lock is waited for in whole seconds only. What is between `/*M!` and its end is MariaDB's alone. */
const SESSION = [
  `SET SESSION autocommit = 1, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = 1,
   sql_select_limit = 18446744073709551615
   /*M! , idle_transaction_timeout = 2, max_statement_time = 0 */`,
  "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
]
const SETTINGS = [
  `SHOW VARIABLES WHERE Variable_name IN
   ('version', 'innodb_flush_log_at_trx_commit', 'max_allowed_packet', 'wsrep_on')`,
  "SHOW GLOBAL STATUS WHERE Variable_name = 'wsrep_cluster_size'",
]

export interface SessionOptions {
  readonly address: MysqlAddress
  /** Asked for each session. */
  readonly tls: () => MysqlTls | undefined
  /** For messages. */
  readonly where: string
}

export class Session {
  readonly #connection: Connection
  readonly #socket: Socket
  readonly #options: SessionOptions
  /** Resolves when the connection has ended. */
  readonly ended: Promise<void>

  /** `database`: "" for none. */
  constructor(options: SessionOptions, database = options.address.database) {
    const { address } = options
    const tls = options.tls()
    const { host, port, user, password } = address
    const socket = host.startsWith("/")
      ? connect(host)
      : connect({ host, port, noDelay: true, keepAlive: true })
    // Node's own name for whom a certificate must name. It knows a host's, and takes an address for "localhost".
    Object.assign(socket, { _host: host })
    this.#options = options
    this.#socket = socket
    this.ended = new Promise((resolve) => socket.once("close", () => resolve()))
    this.#connection = createConnection({
      stream: () => socket,
      host,
      user,
      password,
      database,
      charset: "utf8mb4",
      ...(tls && {
        ssl: { ...tls, rejectUnauthorized: tls.verifies, verifyIdentity: tls.verifies },
      }),
      connectTimeout: CONNECT_TIMEOUT_MS,
      supportBigNumbers: true,
      rowsAsArray: true,
    })
    this.#connection.on("error", () => {}) // the statement under way, or the next one, tells of it
  }

  get isOpen(): boolean {
    return this.#socket.readyState === "open"
  }

  async connect(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#connection.connect((error) => (error ? reject(error) : resolve()))
    })
  }

  /** Sets the session. Throws KnownError ConfigInvalid where the server must not be used. */
  async prepare(): Promise<void> {
    for (const statement of SESSION) await this.query(statement)
    const rows: Columns[] = []
    for (const question of SETTINGS) rows.push(...(await this.query(question)))
    const why = unfitness(new Map(rows.map(([name, value]) => [String(name), String(value)])))
    if (why !== undefined) throw new KnownError("ConfigInvalid", `${this.#options.where}: ${why}`)
  }

  /** Has a statement prepared that will be asked later. */
  async keep(text: string): Promise<void> {
    const { sql } = marked(text)
    await this.#inTime(ANSWER_TIMEOUT_MS, (answered) => this.#connection.prepare(sql, answered))
  }

  /** One statement with its parameters $1, $2, …; of a procedure's answers the first. One that has parameters is
   *  prepared, once for a connection. */
  async query(
    text: string,
    values: readonly unknown[] = [],
    { timeoutMs = ANSWER_TIMEOUT_MS } = {},
  ): Promise<Columns[]> {
    const { sql, order } = marked(text)
    const parameters = order.map((number) => parameterOf(values[number - 1]))
    const answer = await this.#inTime(timeoutMs, (answered) => {
      if (parameters.length > 0) this.#connection.execute(sql, parameters, answered)
      else this.#connection.query(sql, answered)
    })
    return rowsOf(answer)
  }

  #inTime(
    timeoutMs: number,
    ask: (answered: (error: unknown, answer: unknown) => void) => void,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        reject(new Error(`no answer within ${timeoutMs / 1000} s`))
        this.destroy()
      }, timeoutMs)
      ask((error, answer) => {
        clearTimeout(late)
        if (error) reject(error)
        else resolve(answer)
      })
    })
  }

  /** Takes leave of the server, which closes. (The driver calls back before it has written the leave.) */
  end(): void {
    this.#connection.end()
    this.#socket.end()
    const late = setTimeout(() => this.destroy(), LEAVE_TIMEOUT_MS)
    void this.ended.then(() => clearTimeout(late))
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

/** In the driver's words: `?` for each $1, $2, …, and which of them each is. */
function marked(text: string): { sql: string; order: number[] } {
  const order: number[] = []
  const sql = text.replace(/\$(\d)/g, (_, number) => {
    order.push(Number(number))
    return "?"
  })
  return { sql, order }
}

type Parameter = string | bigint | Buffer | null

/** The driver would send a number as one with a point, which is no limit of a list. */
function parameterOf(value: unknown): Parameter {
  if (value instanceof Uint8Array) return Buffer.from(value)
  return typeof value === "number" || typeof value === "boolean" ? BigInt(value) : (value as string)
}

/** A statement answers with rows, or with a header that says what it did; a procedure with the rows of each of its
 *  questions, and a header at last. */
function rowsOf(answer: unknown): Columns[] {
  if (!Array.isArray(answer)) return []
  const rows: unknown = answer.length > 0 && !Array.isArray(answer.at(-1)) ? answer[0] : answer
  return rows as Columns[]
}
