/** For a test file: one database server, a new database for each test, and as many keyturns' stores on it as the test
 *  opens. */
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest"
import type { Store } from "../../src/store/store.ts"
import { missing, needs } from "./programs.ts"

/** A real database server of the test file's own. */
export interface SqlServer<Address> extends AsyncDisposable {
  readonly port: number
  newDatabase(): Address
  address(database: string): Address
  url(database: string): string
  /** A connection that does what no keyturn would. */
  stranger(database: string): Promise<Stranger>
  query(database: string, text: string): Promise<unknown[][]>
  start(): Promise<void>
  /** As a crash of it looks: every connection ends, its log is replayed at the next start. */
  crash(): Promise<void>
  /** All that must be stopped for it to stand still. */
  processes(database: string): Promise<number[]>
}

export interface Stranger {
  query(text: string): Promise<unknown>
  end(): Promise<void>
}

interface Kind<Server, Address> {
  readonly program: "postgres" | "mariadb"
  start(): Promise<Server>
  open(address: Address): Promise<Store>
}

/** What an address says of where and who, in every engine. */
export interface Login {
  readonly database: string
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
}

export class SqlStores<Address extends Login, Server extends SqlServer<Address>> {
  readonly #kind: Kind<Server, Address>
  #server: Server | undefined
  #address: Address | undefined
  readonly #stores: Store[] = []
  readonly #strangers: Stranger[] = []

  /** To be called at the top of a test file. */
  constructor(kind: Kind<Server, Address>) {
    this.#kind = kind
    needs(kind.program)
    beforeAll(async () => {
      if ((await missing(kind.program)) === undefined) this.#server = await kind.start()
    })
    afterAll(() => this.#server?.[Symbol.asyncDispose]())
    beforeEach(() => this.newDatabase())
    afterEach(async () => {
      await Promise.all(this.#strangers.splice(0).map((stranger) => stranger.end()))
      await Promise.all(this.#stores.splice(0).map((store) => store.close()))
    })
  }

  get server(): Server {
    if (this.#server === undefined) throw new Error(`${this.#kind.program} does not run`)
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
  async open(overrides: Partial<Login> = {}): Promise<Store> {
    const store = await this.#kind.open({ ...this.server.address(this.database), ...overrides })
    this.#stores.push(store)
    return store
  }

  async stranger(): Promise<Stranger> {
    const stranger = await this.server.stranger(this.database)
    this.#strangers.push(stranger)
    return stranger
  }

  query(text: string): Promise<unknown[][]> {
    return this.server.query(this.database, text)
  }
}
