/** Writers and readers on all servers of a cluster while a test does what it is about. Each writes its own Secrets, through one
 *  server after the other, and reads each back through another: what was acknowledged must be there at once. Only a request to a
 *  server that the test has ended, or may have disturbed, may fail: refused, it must never be found; without an answer, or with
 *  "unknown", it leaves open whether it happened. Where each server has a member of the datastore, one that ends may have led the
 *  others, and loses writes that are on their way to it: these are "unknown" too, whoever was asked for them. */
import { expect } from "vitest"
import { type ApiClient, apiClient } from "./api.ts"
import type { Cluster } from "./cluster.ts"
import { ABSENT, Ledger } from "./ledger.ts"
import { until } from "./process.ts"
import type { TestServer } from "./server.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const NAMES_EACH = 8
/** Of a worker's turns, every so many deletes. */
const DELETE_EVERY = 5
const SEEN_MAX = 5
/** Whatever becomes of the datastore, the server says so within this time. The time that a test has it stand still does not count. */
const ANSWER_MS_MAX = 30_000

export interface TrafficOptions {
  readonly workers?: number
  /** Between two requests of a worker. */
  readonly pauseMs?: number
  /** Whether a request that this server answers now may be refused (503) or left open (504). */
  readonly isDisturbed?: (server: TestServer) => boolean
}

interface Answer {
  readonly status: number
  readonly body: string
}

export class Traffic implements AsyncDisposable {
  writes = 0
  reads = 0
  refused = 0
  open = 0
  /** The longest that a request took which nothing disturbed. */
  slowestMs = 0
  readonly #cluster: Cluster
  readonly #clients: ReadonlyMap<TestServer, ApiClient>
  readonly #failures: string[] = []
  readonly #ledger = new Ledger()
  readonly #pauseMs: number
  readonly #isDisturbed: (server: TestServer) => boolean
  readonly #running: Promise<unknown>
  #isEnding = false

  constructor(cluster: Cluster, options: TrafficOptions = {}) {
    const { workers = 3, pauseMs = 20, isDisturbed = () => false } = options
    this.#cluster = cluster
    this.#pauseMs = pauseMs
    this.#isDisturbed = isDisturbed
    this.#clients = new Map(
      cluster.servers.map((server) => [
        server,
        apiClient(server.kubeconfig, { maxSockets: workers + 1 }),
      ]),
    )
    this.#running = Promise.all(Array.from({ length: workers }, (_, n) => this.#work(n)))
  }

  /** Looks through every server at all that was written and is sure, and at what may be. */
  async check(): Promise<void> {
    for (const server of this.#cluster.servers) await this.#readAll(server)
    expect(this.#failures.slice(0, SEEN_MAX)).toEqual([])
    expect(Math.min(this.writes, this.reads)).toBeGreaterThan(0)
  }

  /** Ends it, and checks. */
  async end(): Promise<void> {
    this.#isEnding = true
    await this.#running
    await this.check()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true
    await this.#running
    for (const client of this.#clients.values()) client[Symbol.dispose]()
  }

  async #work(worker: number): Promise<void> {
    const slots = Array.from({ length: NAMES_EACH }, (_, slot) => `traffic-${worker}-${slot}`)
    for (let n = 0; !this.#isEnding; n++) {
      const slot = n % NAMES_EACH
      const name = slots[slot] ?? ""
      const isDelete = n % DELETE_EVERY === 0 && !this.#ledger.isAbsent(name)
      await this.write(this.#up(worker + n), name, isDelete ? ABSENT : `${worker}.${n}`)
      await this.#read(this.#up(worker + n + 1), name)
      // What may not be there is neither created nor changed again.
      const possible = this.#ledger.possible(name)
      if (possible.size > 1 && possible.has(ABSENT)) slots[slot] = `traffic-${worker}-${slot}-${n}`
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

  /** Creates, changes or deletes (ABSENT) one that no worker does. Returns how it ended. */
  async write(server: TestServer, name: string, value: string): Promise<string> {
    const isNew = this.#ledger.isAbsent(name)
    const settle = this.#ledger.begin(name, value)
    const [method, path] = isNew ? ["POST", SECRETS] : ["PUT", `${SECRETS}/${name}`]
    const answer = await (value === ABSENT
      ? this.#ask(server, "DELETE", path)
      : this.#ask(server, method, path, secretOf(name, value)))
    const outcome = outcomeOf(answer)
    settle(outcome === "failed" ? "open" : outcome)
    if (outcome === "done") this.writes += 1
    if (outcome === "refused") this.refused += 1
    if (outcome === "open") this.open += 1
    if (outcome === "failed")
      this.#failures.push(`${method} ${name}: ${answer?.status} ${answer?.body}`)
    return outcome
  }

  async #read(server: TestServer, name: string): Promise<void> {
    const possible = this.#ledger.possible(name)
    const answer = await this.#ask(server, "GET", `${SECRETS}/${name}`)
    if (outcomeOf(answer) === "refused" || outcomeOf(answer) === "open") return
    const found = answer?.status === 200 ? valueOf(JSON.parse(answer.body)) : ABSENT
    const isRead = answer?.status === (found === ABSENT ? 404 : 200)
    if (!isRead || !possible.has(found)) {
      const seen = isRead ? found : answer?.body
      const expected = [...possible].map((value) => value || "nothing").join(" or ")
      return void this.#failures.push(
        `GET ${name}: ${answer?.status} ${seen}, expected ${expected}`,
      )
    }
    this.reads += 1
  }

  async #readAll(server: TestServer): Promise<void> {
    // What changes while it is listed is left to the workers' own eyes.
    const before = new Map(this.#ledger.names().map((name) => [name, this.#ledger.possible(name)]))
    const { body } = await until(
      async () => {
        const answer = await this.#ask(server, "GET", SECRETS)
        return answer?.status === 200 ? answer : undefined
      },
      { what: "a list of all Secrets" },
    )
    const items: Secret[] = JSON.parse(body).items
    const found = new Map(items.map((item) => [item.metadata.name, valueOf(item)]))
    for (const [name, possible] of before) {
      const value = found.get(name) ?? ABSENT
      if (possible !== this.#ledger.possible(name) || possible.has(value)) continue
      const expected = [...possible].map((one) => one || "nothing").join(" or ")
      this.#failures.push(`${name} is ${value || "not there"} in the list, expected ${expected}`)
    }
  }

  /** Undefined where no answer came, and might not: its server was ended, stopped or disturbed. */
  async #ask(
    server: TestServer,
    method: string,
    path: string,
    body?: unknown,
  ): Promise<Answer | undefined> {
    const ends = this.#cluster.endsOf(server)
    const isSpared = !this.#cluster.isUp(server) || this.#isDisturbed(server)
    const mayFail = () =>
      isSpared || this.#isDisturbed(server) || this.#cluster.endsOf(server) !== ends
    const { ends: allEnds } = this.#cluster
    const wereAllUp = this.#cluster.servers.every((one) => this.#cluster.isUp(one))
    const isLost = (status: number) =>
      this.#cluster.hasMembers &&
      method !== "GET" &&
      status === 504 &&
      !(wereAllUp && this.#cluster.ends === allEnds)
    const began = performance.now()
    try {
      const answer = await this.#clients.get(server)?.call(method, path, body)
      const status = answer?.status ?? 0
      if ([503, 504].includes(status) && !mayFail() && !isLost(status))
        this.#failures.push(`${method} ${path}: ${status} ${answer?.body}`)
      return answer
    } catch (error) {
      if (!mayFail()) this.#failures.push(`${method} ${path}: ${String(error)}`)
      return undefined
    } finally {
      const ended = performance.now()
      if (!mayFail()) this.slowestMs = Math.max(this.slowestMs, ended - began)
      const tookMs = ended - Math.max(began, this.#cluster.wentOnMs(server))
      if (tookMs > ANSWER_MS_MAX && this.#cluster.endsOf(server) === ends)
        this.#failures.push(`${method} ${path}: took ${Math.round(tookMs)} ms`)
    }
  }
}

function outcomeOf(answer: Answer | undefined) {
  if (answer === undefined || answer.status === 504) return "open"
  if (answer.status === 503) return "refused"
  return answer.status === 200 || answer.status === 201 ? "done" : "failed"
}

interface Secret {
  readonly metadata: { readonly name: string }
  readonly data?: { readonly of?: string }
}

const secretOf = (name: string, value: string) => ({
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name },
  data: { of: Buffer.from(value).toString("base64") },
})

const valueOf = ({ data }: Secret): string => Buffer.from(data?.of ?? "", "base64").toString()
