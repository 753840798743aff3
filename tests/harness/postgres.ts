/** A real PostgreSQL server of its own for a test file: a temporary directory, a free port, ended with the file. */
import { chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Client } from "pg"
import type { PostgresAddress } from "../../src/store/postgres-url.ts"
import { freePort } from "./ports.ts"
import { Program, run, systemUser, until } from "./process.ts"
import { postgresProgram } from "./programs.ts"
import type { SqlServer } from "./sql-stores.ts"
import type { Snapshot } from "./engines.ts"
import { KEEP_SECRETS, PUT_SECRETS_BACK } from "./stored.ts"

const PASSWORD = "s3cr3t-of-the-d4tabase"

export class Postgres implements SqlServer<PostgresAddress> {
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

  /** `settings` as in postgresql.conf. It does not sync to the disk unless told: no test here pulls the plug. */
  static async start(...settings: readonly string[]): Promise<Postgres> {
    const folder = mkdtempSync(join(tmpdir(), "keyturn-pg-"))
    const user = await postgresUser()
    if (user !== undefined) chownSync(folder, user.uid, user.gid)
    const passwordFile = join(folder, "password")
    writeFileSync(passwordFile, PASSWORD, { mode: 0o644 })
    const args = `--username=postgres --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync`
    const { code, stderr } = await run(
      postgresProgram("initdb"),
      [...args.split(" "), `--pgdata=${join(folder, "data")}`, `--pwfile=${passwordFile}`],
      { cwd: tmpdir(), ...user },
    )
    if (code !== 0) throw new Error(`initdb: ${stderr}`)
    const server = new Postgres(await freePort(), folder, settings)
    await server.start()
    return server
  }

  async start(): Promise<void> {
    const settings = ["fsync=off", "unix_socket_directories=", ...this.#settings]
    const user = await postgresUser()
    const args = ["-D", join(this.#folder, "data"), "-p", String(this.port), "-h", "127.0.0.1"]
    for (const setting of settings) args.push("-c", setting)
    const program = new Program(postgresProgram("postgres"), args, { cwd: this.#folder, ...user })
    this.#program = program
    const answers = async () => {
      if (!program.isRunning) throw new Error(program.stderr)
      const client = this.client("postgres")
      try {
        await client.connect()
        return true
      } catch {
        return false
      } finally {
        await client.end().catch(() => {})
      }
    }
    await until(answers, { timeoutMs: 20_000, what: "PostgreSQL answers" })
  }

  /** SIGINT: its fast shutdown. */
  async stop(signal: NodeJS.Signals = "SIGINT"): Promise<void> {
    await this.#program?.end(signal)
    this.#program = undefined
  }

  crash(): Promise<void> {
    return this.stop("SIGQUIT")
  }

  /** The engine's own, and that of each connection. */
  async processes(database: string): Promise<number[]> {
    if (this.#program === undefined) throw new Error("the server is not running")
    const text = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    const found = await this.query(database, text)
    return [this.#program.pid, ...found.map(([pid]) => Number(pid))]
  }

  async stranger(database: string): Promise<Client> {
    const client = this.client(database)
    await client.connect()
    return client
  }

  /** A database that does not exist yet. */
  newDatabase(): PostgresAddress {
    this.#databases += 1
    return this.address(`test_${this.#databases}`)
  }

  address(database: string): PostgresAddress {
    const { port } = this
    return {
      host: "127.0.0.1",
      port,
      user: "postgres",
      password: PASSWORD,
      database,
      sslMode: undefined,
    }
  }

  url(database: string): string {
    return `postgres://postgres:${PASSWORD}@127.0.0.1:${this.port}/${database}`
  }

  /** Not yet connected; whoever takes it ends it. */
  client(database: string): Client {
    const { host, port, user, password } = this.address(database)
    const client = new Client({ host, port, user, password, database })
    client.on("error", () => {}) // the queries tell of it
    return client
  }

  async query(database: string, text: string): Promise<unknown[][]> {
    const client = this.client(database)
    await client.connect()
    try {
      return (await client.query<unknown[]>({ text, rowMode: "array" })).rows
    } finally {
      await client.end()
    }
  }

  /** By pg_dump and pg_restore. */
  async snapshot(database: string): Promise<Snapshot> {
    const file = join(this.#folder, `${database}.dump`)
    const url = this.url(database)
    await succeeded("pg_dump", ["--format=custom", `--file=${file}`, url])
    await this.#script(database, KEEP_SECRETS)
    return {
      putBack: () =>
        succeeded("pg_restore", [
          "--clean",
          "--if-exists",
          "--single-transaction",
          `--dbname=${url}`,
          file,
        ]),
      putBackSecrets: () => this.#script(database, PUT_SECRETS_BACK),
    }
  }

  async #script(database: string, text: string): Promise<void> {
    const client = await this.stranger(database)
    await client.query(text)
    await client.end()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

async function succeeded(program: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await run(postgresProgram(program), args)
  if (code !== 0) throw new Error(`${program}: ${stderr}`)
}

/** PostgreSQL refuses root: then it runs as its package's user. */
export const postgresUser = () => systemUser("postgres")
