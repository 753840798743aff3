/** The connections to one MariaDB or MySQL database: a bounded pool for statements, and single ones for what must not
 *  share. None is used on a server that would lose what it acknowledged, or whose locks do not hold. */
import { KnownError } from "../errors.ts"
import { isConnectionSound, isServerError, mysqlError } from "./mysql-errors.ts"
import { LEAVE_TIMEOUT_MS, Session, type SessionOptions } from "./mysql-session.ts"
import { type MysqlAddress, mysqlTlsWays } from "./mysql-url.ts"
import type { Columns } from "./sql-table.ts"
import { type TlsFiles, tlsOf } from "./tls-files.ts"

const CONNECTIONS_MAX = 16
const TURN_TIMEOUT_MS = 5_000
/** As long as PostgreSQL's stay. */
const IDLE_TIMEOUT_MS = 60_000

const NO_SUCH_DATABASE = 1049

/** A session that waits for a statement, and what ends it where none comes. */
interface Idle {
  readonly session: Session
  readonly end: NodeJS.Timeout
}

export class Connections {
  /** For messages: which database, without credentials. */
  readonly where: string
  readonly #options: SessionOptions
  readonly #writes: readonly string[]
  readonly #sessions = new Set<Session>()
  /** What was given back last is taken first, so that those of which there are too many end. */
  readonly #idle: Idle[] = []
  #free = CONNECTIONS_MAX
  readonly #waiting: (() => void)[] = []
  #closed = false

  private constructor(options: SessionOptions, writes: readonly string[]) {
    this.#options = options
    this.#writes = writes
    this.where = options.where
  }

  /** Creates the database where it is missing. `writes`: statements that a connection of the pool has prepared before it is
   *  used, so that what is sent is the write itself. */
  static async open(
    address: MysqlAddress,
    { files, writes }: { readonly files: TlsFiles; readonly writes: readonly string[] },
  ): Promise<Connections> {
    const where = `MySQL database ${address.database} at ${address.host}:${address.port}`
    const given = tlsOf(files, "MySQL")
    const ways = () => mysqlTlsWays(address, given())
    for (const index of ways().keys()) {
      const options = { address, tls: () => ways()[index], where }
      try {
        await connectOnce(options)
        return new Connections(options, writes)
      } catch (error) {
        const isRefused =
          error instanceof Error && "code" in error && error.code === "HANDSHAKE_NO_SSL_SUPPORT"
        if (!isRefused || index === ways().length - 1)
          throw mysqlError(error, { where, sent: false })
      }
    }
    throw new Error("no way to speak to a server")
  }

  /** One statement: one round trip, one transaction. */
  async query(text: string, values: readonly unknown[] = []): Promise<Columns[]> {
    await this.#turn()
    try {
      const session = await this.#take()
      try {
        return await session.query(text, values)
      } catch (error) {
        if (!isConnectionSound(error)) session.destroy()
        throw this.error(error, { sent: true })
      } finally {
        this.#giveBack(session)
      }
    } finally {
      this.#nextTurn()
    }
  }

  /** A connection of its own; whoever takes it ends it. */
  async single(): Promise<Session> {
    const session = new Session(this.#options)
    this.#sessions.add(session)
    void session.ended.then(() => this.#sessions.delete(session))
    try {
      await session.connect()
      await session.prepare()
      return session
    } catch (error) {
      session.destroy()
      throw this.error(error, { sent: false })
    }
  }

  error(error: unknown, { sent }: { readonly sent: boolean }): unknown {
    return mysqlError(error, { where: this.where, sent })
  }

  async close(): Promise<void> {
    this.#closed = true
    const late = setTimeout(() => {
      for (const session of this.#sessions) session.destroy()
    }, LEAVE_TIMEOUT_MS)
    for (let idle = this.#takeIdle(); idle !== undefined; idle = this.#takeIdle()) idle.end()
    await Promise.all(Array.from(this.#sessions, ({ ended }) => ended))
    clearTimeout(late)
  }

  async #take(): Promise<Session> {
    if (this.#closed) throw new KnownError("StoreUnavailable", "the store is closed")
    let idle = this.#takeIdle()
    while (idle?.isOpen === false) idle = this.#takeIdle()
    if (idle !== undefined) return idle
    const session = await this.single()
    try {
      for (const text of this.#writes) await session.keep(text)
    } catch (error) {
      session.destroy()
      throw this.error(error, { sent: false })
    }
    return session
  }

  #giveBack(session: Session): void {
    if (this.#closed) session.end()
    else if (session.isOpen) {
      // The one that has been idle for longest is the first, and all wait as long.
      const end = setTimeout(() => this.#idle.shift()?.session.end(), IDLE_TIMEOUT_MS)
      this.#idle.push({ session, end })
    }
  }

  #takeIdle(): Session | undefined {
    const idle = this.#idle.pop()
    clearTimeout(idle?.end)
    return idle?.session
  }

  /** Waits until fewer than all connections are in use; in the order of asking. */
  #turn(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        clearTimeout(late)
        resolve()
      }
      const late = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(turn), 1)
        const seen = `${this.where}: all ${CONNECTIONS_MAX} connections are in use`
        reject(new KnownError("StoreUnavailable", `${seen} since ${TURN_TIMEOUT_MS / 1000} s`))
      }, TURN_TIMEOUT_MS)
      this.#waiting.push(turn)
    })
  }

  #nextTurn(): void {
    const turn = this.#waiting.shift()
    if (turn === undefined) this.#free += 1
    else turn()
  }
}

/** Finds out whether the server can be spoken to so. */
async function connectOnce(options: SessionOptions): Promise<void> {
  const session = new Session(options)
  try {
    await session.connect()
  } catch (error) {
    if (!isServerError(error) || error.errno !== NO_SUCH_DATABASE) throw error
    await createDatabase(options)
  } finally {
    session.end()
  }
}

async function createDatabase(options: SessionOptions): Promise<void> {
  const session = new Session(options, "")
  const name = options.address.database.replaceAll("`", "``")
  try {
    await session.connect()
    await session.query(`CREATE DATABASE IF NOT EXISTS \`${name}\``)
  } finally {
    session.end()
  }
}
