/** Writers and readers on all servers of a cluster while a test does what it is about. Each writes its own Secrets, through one
 *  server after the other, and reads each back through another: what was acknowledged must be there at once. Only a request to a
 *  server that the test has ended may fail, and leaves open whether its write happened. */
import { expect } from "vitest"
import { type ApiClient, apiClient } from "./api.ts"
import type { Cluster } from "./cluster.ts"
import type { TestServer } from "./server.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const NAMES_EACH = 8
const SEEN_MAX = 5

export interface TrafficOptions {
  readonly workers?: number
  /** Between two requests of a worker. */
  readonly pauseMs?: number
}

export class Traffic implements AsyncDisposable {
  writes = 0
  reads = 0
  readonly #cluster: Cluster
  readonly #clients: ReadonlyMap<TestServer, ApiClient>
  readonly #failures: string[] = []
  /** What each Secret may hold: what was acknowledged last, and what was cut off since. */
  readonly #values = new Map<string, Set<string>>()
  readonly #pauseMs: number
  readonly #running: Promise<unknown>
  #isEnding = false

  constructor(cluster: Cluster, { workers = 3, pauseMs = 20 }: TrafficOptions = {}) {
    this.#cluster = cluster
    this.#pauseMs = pauseMs
    this.#clients = new Map(
      cluster.servers.map((server) => [
        server,
        apiClient(server.kubeconfig, { maxSockets: workers }),
      ]),
    )
    this.#running = Promise.all(Array.from({ length: workers }, (_, n) => this.#work(n)))
  }

  /** Ends it, and looks through every server at everything that was acknowledged. */
  async end(): Promise<void> {
    this.#isEnding = true
    await this.#running
    for (const server of this.#cluster.servers) await this.#readAll(server)
    expect(this.#failures.slice(0, SEEN_MAX)).toEqual([])
    expect(Math.min(this.writes, this.reads)).toBeGreaterThan(0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true
    await this.#running
    for (const client of this.#clients.values()) client[Symbol.dispose]()
  }

  async #work(worker: number): Promise<void> {
    for (let n = 0; !this.#isEnding; n++) {
      const name = `traffic-${worker}-${n % NAMES_EACH}`
      await this.#write(this.#up(worker + n), name, `${worker}.${n}`)
      await this.#read(this.#up(worker + n + 1), name)
      await new Promise((resolve) => setTimeout(resolve, this.#pauseMs))
    }
  }

  /** The nth of those that are up. */
  #up(n: number): TestServer {
    const up = this.#cluster.servers.filter((server) => this.#cluster.isUp(server))
    const server = up[n % up.length] ?? this.#cluster.servers[n % this.#cluster.servers.length]
    if (server === undefined) throw new Error("a cluster without servers")
    return server
  }

  async #write(server: TestServer, name: string, value: string): Promise<void> {
    const before = this.#values.get(name)
    const secret = {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name },
      data: { of: base64(value) },
    }
    this.#values.set(name, new Set([...(before ?? []), value]))
    // A first write that was cut off may have happened.
    const [method, path] = before === undefined ? ["POST", SECRETS] : ["PUT", `${SECRETS}/${name}`]
    const answer = await this.#ask(server, method, path, secret)
    if (before === undefined && (answer === undefined || answer.status === 409))
      return void this.#values.delete(name)
    if (answer === undefined) return
    if (answer.status !== 200 && answer.status !== 201)
      return void this.#failures.push(`${method} ${name}: ${answer.status} ${answer.body}`)
    this.#values.set(name, new Set([value]))
    this.writes += 1
  }

  async #read(server: TestServer, name: string): Promise<void> {
    const possible = this.#values.get(name)
    if (possible === undefined) return
    const answer = await this.#ask(server, "GET", `${SECRETS}/${name}`)
    if (answer === undefined) return
    const value = answer.status === 200 ? valueOf(JSON.parse(answer.body)) : undefined
    if (value === undefined || !possible.has(value))
      return void this.#failures.push(
        `GET ${name}: ${answer.status} ${value ?? answer.body}, expected ${[...possible].join(" or ")}`,
      )
    this.reads += 1
  }

  async #readAll(server: TestServer): Promise<void> {
    const answer = await this.#ask(server, "GET", SECRETS)
    const items: Secret[] = answer === undefined ? [] : JSON.parse(answer.body).items
    const found = new Map(items.map((item) => [item.metadata.name, valueOf(item)]))
    for (const [name, possible] of this.#values) {
      const value = found.get(name)
      if (value === undefined || !possible.has(value))
        this.#failures.push(
          `${name} is ${value} in the list, expected ${[...possible].join(" or ")}`,
        )
    }
  }

  /** Undefined where the server was ended by the test. */
  async #ask(server: TestServer, method: string, path: string, body?: unknown) {
    const { ends } = this.#cluster
    const wasEnded = () => !this.#cluster.isUp(server) || this.#cluster.ends !== ends
    try {
      const answer = await this.#clients.get(server)?.call(method, path, body)
      return answer?.status === 503 && wasEnded() ? undefined : answer
    } catch (error) {
      if (!wasEnded()) this.#failures.push(`${method} ${path}: ${String(error)}`)
      return undefined
    }
  }
}

interface Secret {
  readonly metadata: { readonly name: string }
  readonly data: { readonly of: string }
}

const base64 = (text: string) => Buffer.from(text).toString("base64")
const valueOf = ({ data }: Secret): string => Buffer.from(data.of, "base64").toString()
