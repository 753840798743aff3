/** Connections that clients keep, as they go over one after the other to a server that is a process of its own. */
import { expect, test } from "vitest"
import { apiClient } from "../harness/api.ts"
import { startServer } from "../harness/server.ts"

test("large Secrets are created on kept HTTP/1.1 connections, whose answers are as large", async () => {
  await using server = await startServer()
  using api = apiClient(server.kubeconfig, { maxSockets: 8 })
  const data = { of: Buffer.alloc(100_000, "x").toString("base64") }
  const create = (_: unknown, n: number) =>
    api.call("POST", "/api/v1/namespaces/default/secrets", {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: `large-${n}` },
      data,
    })
  const answers = await Promise.all(Array.from({ length: 200 }, create))
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]))
})
