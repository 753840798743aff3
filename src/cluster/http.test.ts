import { Agent } from "node:https"
import { setTimeout as sleep } from "node:timers/promises"
import { expect, onTestFinished, test } from "vitest"
import { startSupervisor } from "../../tests/harness/supervisor.ts"
import { exchange } from "./http.ts"

const TIMEOUT_MS = 600

test.each([
  ["an answer", {}],
  ["an answer that may take its time", { isThere: () => sleep(20, true) }],
])("a process that was stopped while it waits for %s goes on waiting", async (_, more) => {
  await using server = await startSupervisor({
    reply: async () => ({ text: await sleep(TIMEOUT_MS / 2, "done") }),
  })
  const agent = new Agent({ ca: server.ca })
  onTestFinished(() => agent.destroy())
  const { signal } = new AbortController()
  const where = { url: new URL("/", server.url), method: "GET", agent } as const
  const answer = exchange({ ...where, signal, timeoutMs: TIMEOUT_MS, ...more })
  await sleep(TIMEOUT_MS / 4)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * TIMEOUT_MS)
  expect(await answer).toMatchObject({ body: "done" })
})
