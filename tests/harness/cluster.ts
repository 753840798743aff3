/** Several servers on one datastore, as real processes on this machine. */
import type { Datastore } from "./engines.ts"
import { TestServer } from "./server.ts"

export const TOKEN = "several-servers-one-t0ken"

export interface ClusterOptions {
  readonly args?: readonly string[]
  /** In place of the one that all have; null: none is given. */
  readonly token?: string | null
  readonly count?: number
  /** For the server s<n> alone. */
  readonly envOf?: (n: number) => Readonly<Record<string, string>>
  readonly argsOf?: (n: number) => readonly string[]
  /** Each server has a member of the datastore, which ends with it. */
  readonly hasMembers?: boolean
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
  readonly hasMembers: boolean
  /** Those that a test ended, is ending, or stopped. */
  readonly #down = new Set<TestServer>()
  readonly #ends = new Map<TestServer, number>()
  readonly #wentOnMs = new Map<TestServer, number>()

  /** None is started. */
  constructor(datastore: Datastore, options: ClusterOptions = {}) {
    const { args = [], token = TOKEN, count = 3, envOf = () => ({}), argsOf = () => [] } = options
    this.datastore = datastore
    this.hasMembers = options.hasMembers ?? false
    this.servers = Array.from({ length: count }, (_, n) => {
      const own = ["--node-name", `s${n + 1}`, ...(token === null ? [] : ["--token", token])]
      const env = { KEYTURN_DATASTORE_ENDPOINT: datastore.endpoint, ...envOf(n + 1) }
      return new TestServer({ env, args: [...own, ...args, ...argsOf(n + 1)] })
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

  /** Grows with every end and every stop of this server. */
  endsOf(server: TestServer): number {
    return this.#ends.get(server) ?? 0
  }

  /** When this server last went on after a stop, as `performance.now()` told; 0: it never stood still. */
  wentOnMs(server: TestServer): number {
    return this.#wentOnMs.get(server) ?? 0
  }

  /** Grows with every end and every stop of any. */
  get ends(): number {
    return this.servers.reduce((sum, server) => sum + this.endsOf(server), 0)
  }

  /** The exit code. */
  stop(server: TestServer, signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    this.#goesDown(server)
    return server.stop(signal)
  }

  /** It stands still where it is. */
  pause(server: TestServer): void {
    this.#goesDown(server)
    process.kill(server.pid, "SIGSTOP")
  }

  resume(server: TestServer): void {
    process.kill(server.pid, "SIGCONT")
    this.#wentOnMs.set(server, performance.now())
    this.#down.delete(server)
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

  #goesDown(server: TestServer): void {
    this.#down.add(server)
    this.#ends.set(server, this.endsOf(server) + 1)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.servers) this.#down.add(server)
    await Promise.all(this.servers.map((server) => server[Symbol.asyncDispose]()))
  }
}
