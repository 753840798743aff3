/** For a test file: one PostgreSQL, a new database for each test, and as many servers' stores on it as the test
 *  opens. */
import type { Client } from "pg"
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest"
import { openPostgres } from "../../src/store/postgres.ts"
import type { PostgresAddress } from "../../src/store/postgres-url.ts"
import type { Store } from "../../src/store/store.ts"
import { Postgres } from "./postgres.ts"
import { missing, needs } from "./programs.ts"

export class PostgresStores {
  #server: Postgres | undefined
  #address: PostgresAddress | undefined
  #stores: Store[] = []
  #strangers: Client[] = []

  /** To be called at the top of a test file. */
  constructor(...settings: readonly string[]) {
    needs("postgres")
    beforeAll(async () => {
      if ((await missing("postgres")) === undefined) {
        this.#server = await Postgres.start(...settings)
      }
    })
    afterAll(() => this.#server?.[Symbol.asyncDispose]())
    beforeEach(() => this.newDatabase())
    afterEach(async () => {
      await Promise.all(this.#strangers.splice(0).map((client) => client.end()))
      await Promise.all(this.#stores.splice(0).map((store) => store.close()))
    })
  }

  get server(): Postgres {
    if (this.#server === undefined) throw new Error("PostgreSQL does not run")
    return this.#server
  }

  get database(): string {
    if (this.#address === undefined) throw new Error("no test runs")
    return this.#address.database
  }

  /** For a test that needs several. */
  newDatabase(): void {
    this.#address = this.server.newDatabase()
  }

  /** One more server's store on the test's database. */
  async open(overrides: Partial<PostgresAddress> = {}): Promise<Store> {
    const address = { ...this.server.address(this.database), ...overrides }
    const store = await openPostgres({ address })
    this.#stores.push(store)
    return store
  }

  /** A connection that does what no keyturn would. */
  async stranger(): Promise<Client> {
    const client = this.server.client(this.database)
    await client.connect()
    this.#strangers.push(client)
    return client
  }

  query(text: string): Promise<unknown[][]> {
    return this.server.query(this.database, text)
  }
}

export const sleep = (ms: number): Promise<undefined> =>
  new Promise((resolve) => setTimeout(() => resolve(undefined), ms))
