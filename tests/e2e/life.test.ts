/** How a server ends: what runs is finished, what waits is told, and nobody can hold it up. */
import { once } from "node:events"
import { readFileSync } from "node:fs"
import type { IncomingMessage } from "node:http"
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
} from "node:http2"
import { Agent, request } from "node:https"
import { connect as connectTcp, type Socket } from "node:net"
import { join } from "node:path"
import { connect as connectTls } from "node:tls"
import { expect, onTestFinished, test } from "vitest"
import { Program, run, until } from "../harness/process.ts"
import { expectQuiet } from "../harness/quiet.ts"
import { KEYTURN, startServer, type TestServer } from "../harness/server.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const WATCH = `${SECRETS}?watch=true`

const secret = (name: string, data: Record<string, string> = {}) =>
  JSON.stringify({ apiVersion: "v1", kind: "Secret", metadata: { name }, data })

/** What the administrator's connections are made of. */
function admin({ dataDir, port }: TestServer) {
  const file = (name: string) => readFileSync(join(dataDir, "server/tls", name), "utf8")
  const own = { cert: file("client-admin.crt"), key: file("client-admin.key") }
  return { host: "127.0.0.1", port, ca: file("server-ca.crt"), ...own }
}

function http2(server: TestServer, settings = {}): ClientHttp2Session {
  const session = connectHttp2(server.url, { ...admin(server), settings })
  session.on("error", () => {}) // a cut connection is what some of them are for
  onTestFinished(() => session.destroy())
  return session
}

function keptAgent(): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 100 })
  onTestFinished(() => agent.destroy())
  return agent
}

/** A connection that does what the server does not expect. */
function held<S extends Socket>(socket: S): S {
  socket.on("error", () => {})
  onTestFinished(() => void socket.destroy())
  return socket
}

const tls = (server: TestServer) => held(connectTls(admin(server)))

async function watchHttp1(server: TestServer, agent: Agent) {
  const sent = request({ ...admin(server), agent, path: WATCH }).end()
  const [response] = (await once(sent, "response")) as [IncomingMessage]
  response.resume()
  const ended = once(response, "close").then(() => response.complete)
  return { status: response.statusCode, ended }
}

async function watchHttp2(session: ClientHttp2Session) {
  const stream = session.request({ ":path": WATCH })
  const [headers] = await once(stream, "response")
  let isEnded = false
  stream.once("end", () => (isEnded = true)).resume()
  const ended = once(stream, "close").then(() => isEnded && stream.rstCode === 0)
  return { status: headers[":status"], ended }
}

interface HalfSent {
  finish(rest: string): Promise<number | undefined>
}

async function half(start: string, sent: NodeJS.WritableStream, status: Promise<number>) {
  if (start !== "") sent.write(start)
  if (start !== "") await new Promise((resolve) => setTimeout(resolve, 50))
  const finish = (rest: string) => {
    sent.end(rest)
    return status
  }
  return { finish } satisfies HalfSent
}

function halfHttp1(server: TestServer, agent: Agent, start: string): Promise<HalfSent> {
  const headers = { "content-type": "application/json" }
  const options = { ...admin(server), agent, method: "POST", path: SECRETS, headers }
  const sent = request(options)
  const status = once(sent, "response").then(([response]) => {
    response.resume()
    return response.statusCode as number
  })
  status.catch(() => {}) // not all are to be answered
  return half(start, sent, status)
}

function halfHttp2(session: ClientHttp2Session, start: string): Promise<HalfSent> {
  const headers = { "content-type": "application/json" }
  const sent: ClientHttp2Stream = session.request({
    ":method": "POST",
    ":path": SECRETS,
    ...headers,
  })
  const answered = once(sent, "response").then(([answer]) => {
    sent.resume()
    return answer[":status"] as number
  })
  const cut = once(sent, "close").then(() => Promise.reject(new Error("closed")))
  const status = Promise.race([answered, cut])
  status.catch(() => {})
  return half(start, sent, status)
}

const refused = async ({ port }: TestServer) => {
  const socket = held(connectTcp(port, "127.0.0.1"))
  const isRefused = await once(socket, "connect").then(
    () => false,
    () => true,
  )
  socket.destroy()
  return isRefused
}

test("SIGTERM: running requests are finished, watches and idle connections end properly", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const agent = keptAgent()
  const session = http2(server)
  const idle = http2(server)
  await once(idle, "remoteSettings")
  const idleEnds = once(idle, "close")
  const watches = await Promise.all([
    ...Array.from({ length: 40 }, () => watchHttp1(server, agent)),
    ...Array.from({ length: 40 }, () => watchHttp2(session)),
  ])
  expect(new Set(watches.map(({ status }) => status))).toEqual(new Set([200]))
  const [start, rest] = [secret("one").slice(0, 20), secret("one").slice(20)]
  const running = await halfHttp1(server, agent, start)
  const other = await halfHttp2(session, start.replace("one", "two"))

  const began = performance.now()
  const code = server.stop()
  expect(await Promise.all(watches.map(({ ended }) => ended))).not.toContain(false)
  await until(() => refused(server))
  expect(await running.finish(rest)).toBe(201)
  expect(await other.finish(rest.replace("one", "two"))).toBe(201)
  expect(await code).toBe(0)
  expect(performance.now() - began).toBeLessThan(2_000)
  await idleEnds
  expectQuiet(server)

  await server.start()
  const names = await run("kubectl", ["get", "secrets", "-o", "name"], { env: server.env })
  expect(names.stdout).toBe("secret/one\nsecret/two\n")
})

/** Clients that would hold a server for ever. Each returns once the server has to do with it. */
const STUCK: Record<string, (server: TestServer) => Promise<unknown>> = {
  "connected, and says nothing": ({ port }) => once(held(connectTcp(port, "127.0.0.1")), "connect"),
  "shook hands, and says nothing": (server) => once(tls(server), "secureConnect"),
  "stopped in its headers": async (server) => {
    const socket = tls(server)
    await once(socket, "secureConnect")
    socket.write("GET /version HTTP/1.1\r\nhost: x\r\n")
  },
  "stopped in its body": (server) => halfHttp1(server, keptAgent(), "{"),
  "stopped in its body, HTTP/2": (server) => halfHttp2(http2(server), "{"),
  "does not read its answer": async (server) => {
    const socket = tls(server)
    await once(socket, "secureConnect")
    socket.pause().write(`GET ${SECRETS} HTTP/1.1\r\nhost: x\r\n\r\n`.repeat(40))
  },
  "does not read its watch, HTTP/2": async (server) => {
    const session = http2(server, { initialWindowSize: 0 })
    await once(session.request({ ":path": WATCH }), "response")
  },
}

test("clients that are stuck hold the end up for less than 5 s", async () => {
  await using server = await startServer()
  const post = await Promise.all(
    Array.from({ length: 8 }, async (_, n) => {
      const whole = secret(`big-${n}`, { of: Buffer.alloc(700_000).toString("base64") })
      return (await halfHttp1(server, keptAgent(), whole)).finish("")
    }),
  )
  expect(new Set(post)).toEqual(new Set([201]))
  for (const become of Object.values(STUCK)) await become(server)
  await new Promise((resolve) => setTimeout(resolve, 200))

  const began = performance.now()
  expect(await server.stop()).toBe(0)
  expect(performance.now() - began).toBeLessThan(5_000)
  expectQuiet(server)
})

test("one that only shook hands is not waited for", async () => {
  await using server = await startServer()
  await once(tls(server), "secureConnect")
  const began = performance.now()
  expect(await server.stop()).toBe(0)
  expect(performance.now() - began).toBeLessThan(1_500)
})

test("SIGINT ends it like SIGTERM", async () => {
  await using server = await startServer()
  expect(await server.stop("SIGINT")).toBe(0)
  expect(server.logs()).toContain("ended")
})

test("a second signal ends it at once", async () => {
  await using server = await startServer()
  await halfHttp1(server, keptAgent(), "{")
  process.kill(server.pid, "SIGTERM")
  await until(() => refused(server))
  const began = performance.now()
  expect(await server.stop()).toBe(143)
  expect(performance.now() - began).toBeLessThan(1_000)
})

test("a rotation that runs as SIGTERM comes is gone on with at the next start", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const agent = keptAgent()
  for (let n = 0; n < 300; n += 30) {
    const batch = Array.from({ length: 30 }, async (_, i) =>
      (await halfHttp1(server, agent, secret(`s${n + i}`))).finish(""),
    )
    await Promise.all(batch)
  }
  // K3s' route answers when the rotation has ended.
  const token = readFileSync(join(server.dataDir, "server/token"), "utf8").trim().split("::")[1]
  const options = { ...admin(server), method: "PUT", path: "/v1-k3s/encrypt/config" }
  const sent = request({ ...options, auth: token, agent: keptAgent() })
  sent.end(JSON.stringify({ stage: "rotate_keys" }))
  const answered = once(sent, "response").then(([response]) => response.statusCode)
  await until(() => existsRotation(server))
  expect(await server.stop()).toBe(0)
  expect([200, 503]).toContain(await answered)
  await server.start()
  const status = () =>
    run(KEYTURN, ["secrets-encrypt", "status", "--data-dir", server.dataDir], { env: server.env })
  await until(async () => (await status()).stdout.includes("reencrypt_finished"))
})

/** Its new key stands in the file as soon as it is taken. */
const existsRotation = ({ dataDir }: TestServer) =>
  readFileSync(join(dataDir, "server/cred/encryption-config.json"), "utf8").includes("aescbckey-")

test("of clients that never rest each write is answered or was not done", async () => {
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const agent = keptAgent()
  const session = http2(server)
  const answered = new Set<string>()
  const writing = Array.from({ length: 16 }, async (_, writer) => {
    for (let n = 0; ; n++) {
      const name = `w${writer}-${n}`
      const sent = writer % 2 ? halfHttp1(server, agent, "") : halfHttp2(session, "")
      const status = await (await sent).finish(secret(name)).catch(() => undefined)
      if (status === undefined) return
      if (status === 201) answered.add(name)
    }
  })
  await until(() => answered.size > 200)
  const began = performance.now()
  expect(await server.stop()).toBe(0)
  expect(performance.now() - began).toBeLessThan(1_500)
  await Promise.all(writing)
  expectQuiet(server)

  await server.start()
  const { stdout } = await run("kubectl", ["get", "secrets", "-o", "name"], { env: server.env })
  const stored = stdout.trim().split("\n")
  expect(stored.toSorted()).toEqual([...answered].map((name) => `secret/${name}`).toSorted())
})

test("SIGTERM in the middle of a start ends it, and hurts nothing", async () => {
  await using server = await startServer()
  await server.stop()
  const own = ["--config", "/dev/null", "--data-dir", server.dataDir, "--https-listen-port", "0"]
  for (const afterMs of [150, 250, 350, 450, 550]) {
    await using program = new Program(KEYTURN, ["server", ...own], { env: server.env })
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    const code = await program.end("SIGTERM")
    expect([0, 143], program.stderr).toContain(code)
    expect(program.stderr).not.toMatch(/error/)
  }
  await server.start()
})
