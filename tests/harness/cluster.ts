/** Several servers on one datastore, as real processes on this machine. */
import type { Datastore } from "./engines.ts"
import { TestServer } from "./server.ts"

export const TOKEN = "several-servers-one-t0ken"

export interface ClusterOptions {
  readonly args?: readonly string[]
  /** In place of the one that all have; null: none is given. */
  readonly token?: string | null
  readonly count?: number
}

/** `await using cluster = await startCluster(datastore)`: three servers that are ready, named s1 to s3; s1 came first. */
export async function startCluster(
  datastore: Datastore,
  options: ClusterOptions = {},
): Promise<Cluster> {
  const cluster = new Cluster(datastore, options)
  const [first, ...others] = cluster.servers
  try {
    await first?.start()
    await Promise.all(others.map((server) => server.start()))
    return cluster
  } catch (error) {
    await cluster[Symbol.asyncDispose]()
    throw error
  }
}

export class Cluster implements AsyncDisposable {
  readonly datastore: Datastore
  readonly servers: readonly TestServer[]
  /** Those that a test ended, or is ending. */
  readonly #down = new Set<TestServer>()
  #ends = 0

  /** None is started. */
  constructor(datastore: Datastore, { args = [], token = TOKEN, count = 3 }: ClusterOptions = {}) {
    this.datastore = datastore
    this.servers = Array.from({ length: count }, (_, n) => {
      const own = ["--node-name", `s${n + 1}`, ...(token === null ? [] : ["--token", token])]
      const env = { KEYTURN_DATASTORE_ENDPOINT: datastore.endpoint }
      return new TestServer({ env, args: [...own, ...args] })
    })
  }

  /** The server s1, s2, …. */
  server(n: number): TestServer {
    const server = this.servers[n - 1]
    if (server === undefined) throw new Error(`there is no server s${n}`)
    return server
  }

  isUp(server: TestServer): boolean {
    return !this.#down.has(server)
  }

  /** Grows with every end of a server. */
  get ends(): number {
    return this.#ends
  }

  async stop(server: TestServer, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    this.#down.add(server)
    this.#ends += 1
    await server.stop(signal)
  }

  async start(server: TestServer, args: readonly string[] = []): Promise<void> {
    await server.start(args)
    this.#down.delete(server)
  }

  /** One after the other, so that the others serve meanwhile. */
  async restartEach(args: readonly string[] = []): Promise<void> {
    for (const server of this.servers) {
      await this.stop(server)
      await this.start(server, args)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.servers) this.#down.add(server)
    await Promise.all(this.servers.map((server) => server[Symbol.asyncDispose]()))
  }
}
