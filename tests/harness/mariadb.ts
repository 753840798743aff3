/** A real MariaDB server of its own for a test file: a temporary directory, a free port, ended with the file. */
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Connection, createConnection, type QueryOptions } from "mysql2/promise"
import type { MysqlAddress } from "../../src/store/mysql-url.ts"
import { freePort } from "./ports.ts"
import { Program, run, systemUser, until } from "./process.ts"
import { mariadbd } from "./programs.ts"
import type { Snapshot } from "./engines.ts"
import { KEEP_SECRETS, PUT_SECRETS_BACK } from "./stored.ts"
import type { SqlServer, Stranger } from "./sql-stores.ts"

const PASSWORD = "s3cr3t-of-the-d4tabase"

export class Mariadb implements SqlServer<MysqlAddress> {
  readonly port: number
  readonly #folder: string
  readonly #settings: readonly string[]
  #program: Program | undefined
  #databases = 0

  private constructor(port: number, folder: string, settings: readonly string[]) {
    this.port = port
    this.#folder = folder
    this.#settings = settings
  }

  /** `settings` as options of mariadbd, without the dashes. It does not sync to the disk unless told: no test here pulls
   *  the plug. */
  static async start(...settings: readonly string[]): Promise<Mariadb> {
    const folder = mkdtempSync(join(tmpdir(), "keyturn-my-"))
    const user = await mariadbUser()
    if (user !== undefined) chownSync(folder, user.uid, user.gid)
    const args = "--no-defaults --auth-root-authentication-method=normal --skip-test-db"
    const { code, stdout, stderr } = await run(
      "mariadb-install-db",
      [...args.split(" "), `--datadir=${join(folder, "data")}`, `--tmpdir=${folder}`],
      { cwd: tmpdir(), ...user },
    )
    if (code !== 0) throw new Error(`mariadb-install-db: ${stdout}${stderr}`)
    const first = join(folder, "first.sql")
    writeFileSync(
      first,
      `CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '${PASSWORD}';
       GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;`
        .replaceAll("\n", " ")
        .replace("; ", ";\n"),
      { mode: 0o644 },
    )
    const server = new Mariadb(await freePort(), folder, [`init-file=${first}`, ...settings])
    await server.start()
    return server
  }

  async start(): Promise<void> {
    const user = await mariadbUser()
    const settings = [
      `datadir=${join(this.#folder, "data")}`,
      `tmpdir=${this.#folder}`,
      `socket=${join(this.#folder, "socket")}`,
      `pid-file=${join(this.#folder, "pid")}`,
      `port=${this.port}`,
      "bind-address=127.0.0.1",
      "skip-name-resolve",
      "innodb-flush-method=nosync",
      "innodb-buffer-pool-size=64M",
      ...this.#settings,
    ]
    const args = ["--no-defaults", ...settings.map((setting) => `--${setting}`)]
    const program = new Program(mariadbd(), args, { cwd: this.#folder, ...user })
    this.#program = program
    const answers = async () => {
      if (!program.isRunning) throw new Error(program.stderr)
      const stranger = await this.stranger("").catch(() => undefined)
      await stranger?.end()
      return stranger !== undefined
    }
    await until(answers, { timeoutMs: 20_000, what: "MariaDB answers" })
  }

  async crash(): Promise<void> {
    await this.#end("SIGKILL")
  }

  /** One process serves every connection. */
  async processes(): Promise<number[]> {
    if (this.#program === undefined) throw new Error("the server is not running")
    return [this.#program.pid]
  }

  newDatabase(): MysqlAddress {
    this.#databases += 1
    return this.address(`test_${this.#databases}`)
  }

  address(database: string): MysqlAddress {
    const { port } = this
    return { host: "127.0.0.1", port, user: "root", password: PASSWORD, database, tls: undefined }
  }

  /** As it lies on the disk. */
  tableFile(database: string, table: string): Buffer {
    return readFileSync(join(this.#folder, "data", database, `${table}.ibd`))
  }

  url(database: string): string {
    return `mysql://root:${PASSWORD}@tcp(127.0.0.1:${this.port})/${database}`
  }

  async stranger(database: string): Promise<Stranger & { readonly connection: Connection }> {
    const { host, port, user, password } = this.address(database)
    const login = { host, port, user, password, ...(database && { database }) }
    const connection = await createConnection({ ...login, multipleStatements: true })
    connection.on("error", () => {}) // the queries tell of it
    return {
      connection,
      query: (text) => connection.query(text),
      end: () => connection.end().catch(() => connection.destroy()),
    }
  }

  /** Rows; large integers and the bytes of text are text. */
  async query(database: string, text: string): Promise<unknown[][]> {
    const stranger = await this.stranger(database)
    try {
      const options: QueryOptions = { sql: text, rowsAsArray: true }
      const [rows] = await stranger.connection.query(options)
      return Array.isArray(rows) ? (rows as unknown[][]) : []
    } finally {
      await stranger.end()
    }
  }

  /** By mariadb-dump and mariadb. The rows alone, for a table cannot be made anew within a transaction; the fence first,
   *  which keeps every write of an encrypted value out from then on. */
  async snapshot(database: string): Promise<Snapshot> {
    const form = "--single-transaction --no-create-info --skip-add-locks --skip-disable-keys"
    const tables = ["keyturn_fence", "keyturn_record", "kine"]
    const dump = await this.#succeeded("mariadb-dump", [
      ...form.split(" "),
      "--hex-blob",
      database,
      ...tables,
    ])
    const clear = tables.map((table) => `DELETE FROM ${table};`).join(" ")
    const begin = `SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN; ${clear}`
    await this.query(database, KEEP_SECRETS)
    return {
      putBack: async () =>
        void (await this.#succeeded("mariadb", [database], `${begin}\n${dump}\nCOMMIT;`)),
      putBackSecrets: async () => void (await this.query(database, PUT_SECRETS_BACK)),
    }
  }

  async #succeeded(program: string, args: readonly string[], stdin = ""): Promise<string> {
    const login = ["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user=root"]
    const own = [...login, `--port=${this.port}`, `--password=${PASSWORD}`]
    const { code, stdout, stderr } = await run(program, [...own, ...args], { stdin })
    if (code !== 0) throw new Error(`${program}: ${stderr}`)
    return stdout
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end("SIGTERM")
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    await this.#program?.end(signal)
    this.#program = undefined
  }
}

/** It runs as its package's user rather than root's. */
export const mariadbUser = () => systemUser("mysql")
