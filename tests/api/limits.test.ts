/** What one client can hold of the server at once, and for how long. Others are told when to come again. */

import { once } from "node:events"
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2"
import { afterEach, beforeEach, expect, test, vi } from "vitest"
import { type Admin, administrator } from "../harness/admin.ts"
import { until } from "../harness/process.ts"
import { type Served, serveInProcess } from "../harness/served.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"

let served: Served
let admin: Admin
let sessions: ClientHttp2Session[]

beforeEach(async () => {
  served = await serveInProcess()
  admin = administrator(served)
  sessions = []
})
afterEach(async () => {
  vi.useRealTimers()
  for (const session of sessions) session.destroy()
  admin[Symbol.dispose]()
  await served.close()
})

/** Streams of a client that reads nothing of what is answered. */
function open(count: number, headers: Readonly<Record<string, string>>): ClientHttp2Stream[] {
  const session = connect(`https://127.0.0.1:${served.port}`, {
    ca: served.ca,
    ...served.admin,
    settings: { initialWindowSize: 0 },
  })
  session.on("error", () => {})
  sessions.push(session)
  return Array.from({ length: count }, () => {
    const stream = session.request(headers, { endStream: headers[":method"] === "GET" })
    return stream.on("error", () => {})
  })
}

const running = async (kind: string): Promise<number> => {
  const { body } = await admin.ask("GET /metrics")
  const [, count] =
    new RegExp(`inflight_requests{request_kind="${kind}"} (\\d+)`).exec(String(body)) ?? []
  return Number(count)
}

const UNREAD = { ":method": "GET", ":path": `${SECRETS}?limit=1` }
const UNFINISHED = { ":method": "POST", ":path": SECRETS, "content-type": "application/json" }

// biome-ignore format: a table
test.each([
  ["readOnly", 400, UNREAD,     `GET ${SECRETS}`,    `DELETE ${SECRETS}`],
  ["mutating", 200, UNFINISHED, `DELETE ${SECRETS}`, `GET ${SECRETS}`],
] as const)("of %s requests %d run at once, unread answers and unfinished bodies count", async (kind, max, held, refused, other) => {
  open(max / 2, held)
  open(max / 2, held)
  await until(async () => (await running(kind)) === max)
  const { http } = admin
  const [method, url] = refused.split(" ") as [string, string]
  const answer = await http.send({ method, url })
  expect(answer).toMatchObject({ status: 429, headers: { "retry-after": "1" } })
  expect(JSON.parse(answer.body.toString())).toMatchObject({
    reason: "TooManyRequests",
    message: "Too many requests, please try again later.",
    details: { retryAfterSeconds: 1 },
  })
  expect((await admin.ask("GET /readyz")).status).toBe(200)
  expect((await admin.ask(other)).status).toBe(200)
  for (const session of sessions) session.destroy()
  await until(async () => (await running(kind)) === 0)
  expect((await admin.ask(refused)).status).toBe(200)
})

/** The one request in flight, with its minutes in the test's hand. */
async function held(headers: Readonly<Record<string, string>>, kind: string) {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
  const [stream] = open(1, headers)
  if (stream === undefined) throw new Error("no stream")
  await vi.waitUntil(async () => (await running(kind)) === 1, { interval: 1 })
  return stream
}

test("a body that does not come is waited for one minute", async () => {
  const stream = await held(UNFINISHED, "mutating")
  const answered = once(stream, "response")
  vi.advanceTimersByTime(60_000)
  expect((await answered)[0]).toMatchObject({ ":status": 408 })
})

test("an answer that is not read is kept for one minute", async () => {
  const stream = await held(UNREAD, "readOnly")
  const closed = once(stream, "close")
  vi.advanceTimersByTime(60_000)
  await closed
  await vi.waitUntil(async () => (await running("readOnly")) === 0, { interval: 1 })
})

test("a watch that is not read is cut after one minute, while it runs and after its end", async () => {
  const data = { a: "A".repeat(100_000) }
  await admin.ask(`POST ${SECRETS}`, { metadata: { name: "big" }, data })
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
  const watch = async (query: string) => {
    const [stream] = open(1, { ":method": "GET", ":path": `${SECRETS}?watch=1&${query}` })
    if (stream === undefined) throw new Error("no stream")
    await once(stream, "response")
    return stream
  }
  const running = await watch("timeoutSeconds=3600")
  vi.advanceTimersByTime(60_000)
  await once(running, "close")
  const ended = await watch("timeoutSeconds=1&fieldSelector=metadata.name=none")
  await vi.waitUntil(() => vi.advanceTimersByTime(1_000) && ended.closed, { interval: 1 })
})
