import { expect, test } from "vitest"
import { http1, http2 } from "../../tests/harness/https.ts"
import { issueServing, makeAuthorities } from "../cluster/issue.ts"
import { type Listener, type ListenerOptions, listen } from "./listener.ts"

const now = new Date()
const authorities = await makeAuthorities(now)
const names = ["127.0.0.1", "localhost"]
const serving = await issueServing(authorities.server, { names, now })

const listening = (handle: ListenerOptions["handle"], port = 0): Promise<Listener> =>
  listen({ bindAddress: "127.0.0.1", port, serving, clientCa: authorities.client.cert, handle })

const peer = ({ port }: Listener) => ({ port, ca: authorities.server.cert })
const get = { method: "GET", url: "/" }

test.each([http1, http2])(
  "a running request is finished, and then the port is closed",
  async (client) => {
    const arrived = Promise.withResolvers<void>()
    const listener = await listening((_, response) => {
      arrived.resolve()
      setTimeout(() => response.end("whole"), 200)
    })
    const one = client(peer(listener))
    const answer = one.send(get)
    await arrived.promise
    const closed = listener.close()
    expect((await answer).body.toString()).toBe("whole")
    await closed
    const other = client(peer(listener))
    await expect(other.send(get)).rejects.toThrow("ECONNREFUSED")
    for (const each of [one, other]) each[Symbol.dispose]()
  },
)

test("an idle kept connection does not delay the end", async () => {
  const listener = await listening((_, response) => void response.end("ok"))
  const client = http1(peer(listener))
  await client.send(get)
  const started = performance.now()
  await listener.close()
  expect(performance.now() - started).toBeLessThan(1_000)
  client[Symbol.dispose]()
})
