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

interface Event {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "ERROR"
  readonly object: Secret
}

export class Following implements AsyncDisposable {
  /** The longest time without an event, where something was written all the time. */
  slowestMs = 0
  readonly #client: ApiClient
  readonly #stop = new AbortController()
  readonly #running: Promise<void>
  readonly #found = new Map<string, string>()
  readonly #toldAt = new Map<string, string>()
  readonly #failures: string[] = []
  #toldMs = Number.POSITIVE_INFINITY

  constructor(server: TestServer) {
    this.#client = apiClient(server.kubeconfig)
    this.#running = this.#follow()
  }

  /** From here on the time between events counts. */
  measure(): void {
    this.slowestMs = 0
    this.#toldMs = performance.now()
  }

  /** The watch told all that a list shows, and nothing else. */
  async expectAll(): Promise<void> {
    let [listed, told]: unknown[] = []
    await until(async () => {
      const { status, body } = await this.#client.call("GET", SECRETS)
      if (status !== 200) return false
      listed = byName(JSON.parse(body).items)
      told = Object.fromEntries(this.#found)
      return this.#failures.length > 0 || same(listed, told)
    }).catch(() => {})
    expect(this.#failures.slice(0, SEEN_MAX)).toEqual([])
    expect(told).toEqual(listed)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
    this.#client[Symbol.dispose]()
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop
    let from = await this.#list()
    while (!signal.aborted) {
      const path = `${SECRETS}?watch=1&resourceVersion=${from}`
      for await (const line of this.#client.lines(path, signal)) from = this.#take(line, from)
      await sleep(50)
    }
  }

  async #list(): Promise<string> {
    const { status, body } = await this.#client.call("GET", SECRETS)
    expect(status, body.slice(0, 500)).toBe(200)
    const { items, metadata } = JSON.parse(body)
    for (const [name, text] of Object.entries(byName(items))) this.#found.set(name, text)
    return metadata.resourceVersion
  }

  /** Returns where the watch stands then. */
  #take(line: string, from: string): string {
    const event: Event | { readonly kind: string } = JSON.parse(line)
    // A server that has no datastore at the moment answers with a Status of its own.
    if (!("type" in event)) return from
    const { type, object } = event
    if (type === "ERROR") {
      this.#failures.push(line)
      return from
    }
    const { name, resourceVersion } = object.metadata
    // A rewrite changes many at one revision of etcd.
    if (Number(resourceVersion) < Number(from) || this.#toldAt.get(name) === resourceVersion)
      this.#failures.push(`${type} ${name} at ${resourceVersion} after ${from}`)
    this.#toldAt.set(name, resourceVersion)
    if (type === "DELETED") this.#found.delete(name)
    else this.#found.set(name, textOf(object))
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
