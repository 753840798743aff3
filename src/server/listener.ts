/** The HTTPS port: HTTP/2 and HTTP/1.1 through one handler, TLS 1.2 and up, client certificates asked for and never demanded.
 *  What a request may do is not decided here. */
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2"
import type { Socket } from "node:net"
import { getSystemErrorMessage } from "node:util"
import type { Pair } from "../cluster/pem.ts"
import { bug, KnownError } from "../errors.ts"

export interface ListenerOptions {
  readonly bindAddress: string
  /** 0 picks a free one. */
  readonly port: number
  readonly serving: Pair
  /** PEM of the authorities whose client certificates count. */
  readonly clientCa: string
  /** HTTP/1.1 requests come as node:http's own, of the same shape. */
  readonly handle: (req: Http2ServerRequest, res: Http2ServerResponse) => void
}

export interface Listener {
  readonly address: string
  readonly port: number
  /** For connections from now on; open ones keep what they have. */
  setServing(pair: Pair): void
  /** Takes no more connections, lets running requests finish, and cuts what is left after {@link CLOSE_MS_MAX}. Watches
   *  must be ended by their owner before. */
  close(): Promise<void>
}

/** With what else there is to end, a server is gone within 5 s. */
const CLOSE_MS_MAX = 4_000
const HANDSHAKE_MS_MAX = 10_000
const HEADERS_MS_MAX = 10_000
const REQUEST_MS_MAX = 60_000
const IDLE_MS_MAX = 90_000
const STREAMS_MAX = 250

/** node's own types know these options of http.createServer, but not that they hold here too. */
const HTTP1_TIMEOUTS: object = {
  headersTimeout: HEADERS_MS_MAX,
  requestTimeout: REQUEST_MS_MAX,
  keepAliveTimeout: IDLE_MS_MAX,
}

/** Throws PortInUse, UsageInvalid. */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const { serving, clientCa, handle, bindAddress, port } = options
  const context = ({ cert, key }: Pair) =>
    ({ cert, key, ca: clientCa, minVersion: "TLSv1.2" }) as const
  const server = createSecureServer(
    {
      ...context(serving),
      allowHTTP1: true,
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: HANDSHAKE_MS_MAX,
      settings: { maxConcurrentStreams: STREAMS_MAX },
      ...HTTP1_TIMEOUTS,
    },
    handle,
  )
  server.on("session", closeWhenIdle)
  server.on("request", readByEvents)
  const sockets = trackSockets(server)
  await startListening(server, { bindAddress, port })
  const address = server.address()
  if (address === null || typeof address === "string") bug("a listening server without an address")
  return {
    address: address.address,
    port: address.port,
    setServing: (pair) => server.setSecureContext(context(pair)),
    close: () => close(server, sockets),
  }
}

/** HTTP/1.1's parser takes bytes from the connection itself unless somebody listens to them, and then ends it where a request comes in
 *  several pieces while a long answer to the one before is still being written: the pause that it asks for comes too late. Whoever
 *  listens is given 64 KiB of memory for each request, so it begins with the first one that has to wait for its answer. */
function readByEvents({ socket }: Http2ServerRequest, res: Http2ServerResponse): void {
  const isInTurn = res.socket !== null
  if (isInTurn || socket.listeners("data").includes(ignored)) return
  socket.on("data", ignored)
  // The parser may have stopped to read, and begins no more: where nobody reads, this does.
  socket.push("")
}

const ignored = (): void => {}

/** A session with open streams is alive however still it is: a watch may wait for hours. */
function closeWhenIdle(session: ServerHttp2Session): void {
  let open = 0
  session.on("stream", (stream) => {
    open++
    stream.once("close", () => open--)
  })
  session.setTimeout(IDLE_MS_MAX)
  session.on("timeout", () => {
    // What is closed waits for a stream whose headers never end.
    if (open === 0) session.destroy()
  })
}

function trackSockets(server: Http2SecureServer): Set<Socket> {
  const sockets = new Set<Socket>()
  server.on("connection", (socket: Socket) => {
    socket.setKeepAlive(true, IDLE_MS_MAX)
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })
  return sockets
}

function startListening(
  server: Http2SecureServer,
  { bindAddress, port }: { bindAddress: string; port: number },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const at = `${bindAddress}:${port}`
  server.once("error", (cause: NodeJS.ErrnoException) => {
    if (cause.code === "EADDRINUSE")
      return reject(new KnownError("PortInUse", `${at} is in use by another program`, { cause }))
    const why = getSystemErrorMessage(cause.errno ?? 0)
    reject(new KnownError("UsageInvalid", `cannot listen on ${at}: ${why}`, { cause }))
  })
  server.listen({ host: bindAddress, port }, resolve)
  return promise
}

/** How often connections whose last request has ended are looked for while the server closes. */
const SWEEP_MS = 20

async function close(server: Http2SecureServer, sockets: Set<Socket>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  server.close(() => resolve())
  const sweep = setInterval(() => closeIdle(server), SWEEP_MS)
  const cut = setTimeout(() => {
    for (const socket of sockets) socket.destroy()
  }, CLOSE_MS_MAX)
  await promise
  clearInterval(sweep)
  clearTimeout(cut)
}

/** HTTP/1.1's; node's types have it for http.Server only. */
function closeIdle(server: Http2SecureServer & { closeIdleConnections?(): void }): void {
  server.closeIdleConnections?.()
}
