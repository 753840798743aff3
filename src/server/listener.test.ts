import { X509Certificate } from "node:crypto"
import { once } from "node:events"
import {
  connect as connectHttp2,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2"
import { setTimeout as sleep } from "node:timers/promises"
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls"
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest"
import { issueServing, makeAuthorities } from "../cluster/issue.ts"
import { type Listener, listen } from "./listener.ts"

const now = new Date()
const { server: ca, client } = await makeAuthorities(now)
const serving = () => issueServing(ca, { names: ["127.0.0.1"], now })
const [first, second] = [await serving(), await serving()]

let listener: Listener
beforeAll(async () => {
  const handle: Parameters<typeof listen>[0]["handle"] = (_, res) => void res.end("ok")
  const at = { bindAddress: "127.0.0.1", port: 0 }
  listener = await listen({ ...at, serving: first, clientCa: client.cert, handle })
})
afterAll(() => listener.close())

async function connected(options: ConnectionOptions = {}): Promise<TLSSocket> {
  const { address: host, port } = listener
  const socket = connect({ host, port, ca: ca.cert, ...options })
  onTestFinished(() => void socket.destroy())
  await once(socket, "secureConnect")
  return socket
}

const shown = (socket: TLSSocket) => socket.getPeerX509Certificate()?.fingerprint256
const fingerprint = ({ cert }: typeof first) => new X509Certificate(cert).fingerprint256

test("a renewed certificate is shown from the next connection on, and open ones go on", async () => {
  const open = await connected()
  expect(shown(open)).toBe(fingerprint(first))
  listener.setServing(second)
  expect(shown(await connected())).toBe(fingerprint(second))
  open.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
  const [answer] = await once(open, "data")
  expect(String(answer)).toMatch(/^HTTP\/1\.1 200 /)
})

test("TLS 1.2 and 1.3 are spoken, older versions are refused", async () => {
  const upTo = (maxVersion: "TLSv1.1" | "TLSv1.2" | "TLSv1.3") =>
    connected({ minVersion: "TLSv1", maxVersion, ciphers: "DEFAULT@SECLEVEL=0" })
  expect((await upTo("TLSv1.2")).getProtocol()).toBe("TLSv1.2")
  expect((await upTo("TLSv1.3")).getProtocol()).toBe("TLSv1.3")
  await expect(upTo("TLSv1.1")).rejects.toMatchObject({
    code: "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION",
  })
})

test("an address that is taken, and one that is not ours", async () => {
  const handle = () => {}
  const at = (bindAddress: string, port: number) =>
    listen({ bindAddress, port, serving: first, clientCa: client.cert, handle })
  await expect(at("127.0.0.1", listener.port)).rejects.toMatchObject({
    code: "PortInUse",
    message: `127.0.0.1:${listener.port} is in use by another program`,
  })
  await expect(at("192.0.2.1", 0)).rejects.toMatchObject({
    code: "UsageInvalid",
    message: "cannot listen on 192.0.2.1:0: address not available",
  })
})

const LONG = 4 << 20

/** Answers /long with {@link LONG} bytes, and all else with how many it read; /late is not read at once. */
async function answering(): Promise<{ socket: TLSSocket; ask: (path: string) => void }> {
  const handle = async (req: Http2ServerRequest, res: Http2ServerResponse): Promise<void> => {
    if (req.url === "/late") await sleep(50)
    let length = 0
    for await (const chunk of req) length += chunk.length
    res.end(req.url === "/long" ? "x".repeat(LONG) : `<${req.url} ${length}>`)
  }
  const at = { bindAddress: "127.0.0.1", port: 0, serving: first, clientCa: client.cert }
  const own = await listen({ ...at, handle: (req, res) => void handle(req, res) })
  onTestFinished(() => own.close())
  const socket = await connected({ port: own.port })
  return { socket, ask: (path) => socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`) }
}

/** All that comes until `last`. */
async function answers(socket: TLSSocket, last: string): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk)
    if (Buffer.concat(chunks.slice(-2)).toString().endsWith(last)) return chunks.join("")
  }
  throw new Error(`ended before ${last}`)
}

test("a request in pieces behind long answers that are still being written is read whole", async () => {
  const { socket, ask } = await answering()
  for (let asked = 0; asked < 3; asked++) ask("/long")
  socket.write("POST /post HTTP/1.1\r\nhost: x\r\ncontent-length: 240000\r\n\r\n")
  for (let pieces = 0; pieces < 4; pieces++) {
    socket.write("y".repeat(60_000))
    await sleep(20)
  }
  expect((await answers(socket, "</post 240000>")).length).toBeGreaterThan(3 * LONG)
})

test("a connection is read on after a request that came before a long answer was taken", async () => {
  const { socket, ask } = await answering()
  ask("/long")
  await sleep(300) // nobody reads: the answer fills what lies between
  ask("/second")
  await sleep(100)
  await answers(socket, "</second 0>")
  for (const path of ["/third", "/fourth"]) {
    ask(path)
    await answers(socket, `<${path} 0>`)
  }
})

test("a connection is read on after a request that came before a large one was read", async () => {
  const { socket, ask } = await answering()
  socket.write("POST /late HTTP/1.1\r\nhost: x\r\ncontent-length: 80000\r\n\r\n")
  socket.write("y".repeat(80_000))
  ask("/second")
  await answers(socket, "</second 0>")
  ask("/third")
  await answers(socket, "</third 0>")
})

/** The server's end of an HTTP/2 session: `opened` is to make a request on it. */
async function sessionOf(opened: (port: number) => unknown) {
  const { promise, resolve } = Promise.withResolvers<Http2ServerResponse>()
  const at = { bindAddress: "127.0.0.1", port: 0, serving: first, clientCa: client.cert }
  const own = await listen({ ...at, handle: (_, response) => resolve(response) })
  onTestFinished(() => own.close())
  opened(own.port)
  const response = await promise
  return { response, session: response.stream.session as ServerHttp2Session }
}

test("a session that was still while something ran is closed when it is still again", async () => {
  const { response, session } = await sessionOf((port) => {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: ca.cert })
    onTestFinished(() => session.destroy())
    session.request().resume()
  })
  session.emit("timeout")
  expect(session.destroyed).toBe(false)
  response.end()
  await once(response.stream, "close")
  session.emit("timeout")
  expect(session.destroyed).toBe(true)
})

const FRAME = { headers: 1, settings: 4 } as const
const END_STREAM = 1
const END_HEADERS = 4
/** `:method: GET`, `:scheme: https`, `:path: /`, `:authority: x`. */
const GET = [0x82, 0x87, 0x84, 0x41, 1, 0x78]

const frame = (type: number, flags: number, stream: number, payload: readonly number[]): Buffer =>
  Buffer.from([0, 0, payload.length, type, flags, 0, 0, 0, stream, ...payload])

test("a session whose headers never end is cut when it is still", async () => {
  const { promise: socket, resolve } = Promise.withResolvers<TLSSocket>()
  const { response, session } = await sessionOf(async (port) => {
    const own = await connected({ port, ALPNProtocols: ["h2"] })
    resolve(own.resume())
    own.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    own.write(frame(FRAME.settings, 0, 0, []))
    own.write(frame(FRAME.headers, END_STREAM | END_HEADERS, 1, GET))
    own.write(frame(FRAME.headers, END_STREAM, 3, GET))
  })
  response.end()
  await once(response.stream, "close")
  session.emit("timeout")
  await once(await socket, "close")
})
