/** Secrets that nobody changes while a test does what it is about. */
import { expect } from "vitest"
import { apiClient } from "./api.ts"
import type { Cluster } from "./cluster.ts"
import type { TestServer } from "./server.ts"

const path = "/api/v1/namespaces/default/secrets"
const contents = (n: number) => Buffer.from(`${n}`.padEnd(1024, ".")).toString("base64")

/** Creates `count` of 1 KiB, through all servers. */
export async function fill(cluster: Cluster, count: number): Promise<void> {
  const clients = cluster.servers.map(({ kubeconfig }) => apiClient(kubeconfig, { maxSockets: 8 }))
  let next = 0
  const filler = async (client: (typeof clients)[number]) => {
    for (let n = next++; n < count; n = next++) {
      const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: `s${n}` } }
      const { status, body } = await client.call("POST", path, {
        ...secret,
        data: { of: contents(n) },
      })
      expect(status, body).toBe(201)
    }
  }
  await Promise.all([...clients, ...clients, ...clients].map(filler))
  for (const client of clients) client[Symbol.dispose]()
}

export async function expectFilled(server: TestServer, count: number): Promise<void> {
  using api = apiClient(server.kubeconfig)
  const { status, body } = await api.call("GET", path)
  expect(status, body.slice(0, 1000)).toBe(200)
  const items = JSON.parse(body).items as { metadata: { name: string }; data: { of: string } }[]
  const found = new Map(items.map(({ metadata, data }) => [metadata.name, data.of]))
  for (let n = 0; n < count; n++) expect(found.get(`s${n}`)).toBe(contents(n))
}
