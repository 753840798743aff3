/** Follows the Secrets through one server as an informer does: a list, a watch from there, and a watch from where it ended. */
import { setTimeout as sleep } from "node:timers/promises"
import { expect } from "vitest"
import { type ApiClient, apiClient } from "./api.ts"
import { until } from "./process.ts"
import type { TestServer } from "./server.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"

const SEEN_MAX = 5

interface Secret {
  readonly metadata: { readonly name: string; readonly resourceVersion: string }
  readonly data?: unknown
}

interface Listed {
  readonly revision: number
  /** By name. */
  readonly found: Record<string, string>
}

interface Event {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "ERROR"
  readonly object: Secret & { readonly reason?: string }
}

export interface FollowingOptions {
  /** Lists anew where history was compacted before the watch could tell it: its server lost its datastore for a while. */
  readonly mayListAnew?: boolean
}

export class Following implements AsyncDisposable {
  /** The longest time without an event, where something was written all the time. */
  slowestMs = 0
  readonly #mayListAnew: boolean
  readonly #client: ApiClient
  readonly #stop = new AbortController()
  readonly #running: Promise<void>
  /** What was there at a revision. */
  #from = 0
  #found: Listed["found"] = {}
  /** What was told since. */
  #events: { readonly revision: number; readonly name: string; readonly text?: string }[] = []
  readonly #toldAt = new Map<string, string>()
  readonly #failures: string[] = []
  #toldMs = Number.POSITIVE_INFINITY

  constructor(server: TestServer, { mayListAnew = false }: FollowingOptions = {}) {
    this.#mayListAnew = mayListAnew
    this.#client = apiClient(server.kubeconfig)
    this.#running = this.#follow()
  }

  /** From here on the time between events counts. */
  measure(): void {
    this.slowestMs = 0
    this.#toldMs = performance.now()
  }

  /** The watch tells all that a list shows, and nothing else, up to the list's revision: others may be writing. */
  async expectAll(): Promise<void> {
    let listed = await this.#list()
    const isTold = async () => {
      // The watch has begun anew since.
      if (listed.revision < this.#from) listed = await this.#list()
      return this.#failures.length > 0 || same(listed.found, this.#foundAt(listed.revision))
    }
    await until(isTold).catch(() => {})
    expect(this.#failures.slice(0, SEEN_MAX)).toEqual([])
    this.#begin({ ...listed, found: this.#foundAt(listed.revision) })
    expect(this.#found).toEqual(listed.found)
  }

  #foundAt(revision: number): Record<string, string> {
    const found = new Map(Object.entries(this.#found))
    for (const { revision: at, name, text } of this.#events) {
      if (at > revision) break
      if (text === undefined) found.delete(name)
      else found.set(name, text)
    }
    return Object.fromEntries(found)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
    this.#client[Symbol.dispose]()
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop
    let from = await this.#beginAnew()
    while (!signal.aborted) {
      const path = `${SECRETS}?watch=1&resourceVersion=${from}`
      for await (const line of this.#client.lines(path, signal))
        from = this.#take(line, from) ?? (await this.#beginAnew())
      await sleep(50)
    }
  }

  async #beginAnew(): Promise<string> {
    const listed = await this.#list()
    this.#begin(listed)
    return String(listed.revision)
  }

  #begin({ revision, found }: Listed): void {
    this.#from = revision
    this.#found = found
    this.#events = this.#events.filter((one) => one.revision > revision)
  }

  #list(): Promise<Listed> {
    return until(async () => {
      const { status, body } = await this.#client.call("GET", SECRETS)
      if (status !== 200) return undefined
      const { items, metadata } = JSON.parse(body)
      return { revision: Number(metadata.resourceVersion), found: byName(items) }
    })
  }

  /** Returns where the watch stands then; undefined where that is no more. */
  #take(line: string, from: string): string | undefined {
    const event: Event | { readonly kind: string } = JSON.parse(line)
    // A server that has no datastore at the moment answers with a Status of its own.
    if (!("type" in event)) return from
    const { type, object } = event
    if (this.#mayListAnew && object.reason === "Expired") return undefined
    if (type === "ERROR") {
      this.#failures.push(line)
      return from
    }
    const { name, resourceVersion } = object.metadata
    // A rewrite changes many at one revision of etcd.
    if (Number(resourceVersion) < Number(from) || this.#toldAt.get(name) === resourceVersion)
      this.#failures.push(`${type} ${name} at ${resourceVersion} after ${from}`)
    this.#toldAt.set(name, resourceVersion)
    const told = { revision: Number(resourceVersion), name }
    this.#events.push(type === "DELETED" ? told : { ...told, text: textOf(object) })
    const now = performance.now()
    this.slowestMs = Math.max(this.slowestMs, now - this.#toldMs)
    if (Number.isFinite(this.#toldMs)) this.#toldMs = now
    return resourceVersion
  }
}

const textOf = ({ data }: Secret): string => JSON.stringify(data)
const byName = (items: readonly Secret[]): Record<string, string> =>
  Object.fromEntries(items.map((item) => [item.metadata.name, textOf(item)]))
const same = (one: unknown, other: unknown) => {
  try {
    expect(one).toEqual(other)
    return true
  } catch {
    return false
  }
}
