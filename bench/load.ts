/** Load on keep-alive TLS connections, HTTP/1.1 written by hand so that the client costs next to nothing: each connection sends
 *  its next request when the answer to the last one is whole. */
import { connect, type TLSSocket } from "node:tls"

export interface Load {
  readonly port: number
  readonly connections: number
  /** The n-th request of all, as bytes; undefined ends the run. */
  request(n: number): Buffer | undefined
  /** PEM of a client certificate. */
  readonly certificate?: { readonly cert: string; readonly key: string }
}

export interface LoadResult {
  readonly requests: number
  readonly seconds: number
  readonly perSecond: number
}

/** Throws where an answer is no 200 or 201. */
export async function run(load: Load): Promise<LoadResult> {
  const sockets = await Promise.all(Array.from({ length: load.connections }, () => open(load)))
  let sent = 0
  let answered = 0
  const next = () => load.request(sent++)
  const started = performance.now()
  try {
    await Promise.all(sockets.map((socket) => drive(socket, next, () => answered++)))
  } finally {
    for (const socket of sockets) socket.destroy()
  }
  const seconds = (performance.now() - started) / 1000
  return { requests: answered, seconds, perSecond: answered / seconds }
}

function open({ port, certificate }: Load): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>()
  const socket = connect({
    host: "127.0.0.1",
    port,
    rejectUnauthorized: false,
    ALPNProtocols: ["http/1.1"],
    ...certificate,
  })
  socket.setNoDelay(true)
  socket.once("secureConnect", () => resolve(socket)).once("error", reject)
  return promise
}

function drive(
  socket: TLSSocket,
  next: () => Buffer | undefined,
  answered: () => void,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const send = () => {
    const bytes = next()
    if (bytes === undefined) resolve()
    else socket.write(bytes)
  }
  let head = ""
  let left = -1
  socket.on("data", (chunk: Buffer) => {
    let body = chunk.length
    if (left < 0) {
      head += chunk.toString("latin1")
      const end = head.indexOf("\r\n\r\n")
      if (end < 0) return
      if (!/^HTTP\/1\.1 20[01] /.test(head)) return reject(new Error(head.slice(0, 2_000)))
      left = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1] ?? 0)
      body = head.length - end - 4
      head = ""
    }
    left -= body
    if (left > 0) return
    left = -1
    answered()
    send()
  })
  socket.once("error", reject)
  send()
  return promise
}

export const requestBytes = (of: {
  method: string
  path: string
  authorization?: string
  body?: string
}): Buffer => {
  const lines = [`${of.method} ${of.path} HTTP/1.1`, "Host: 127.0.0.1", "Accept: application/json"]
  if (of.authorization) lines.push(`Authorization: ${of.authorization}`)
  if (of.body)
    lines.push("Content-Type: application/json", `Content-Length: ${Buffer.byteLength(of.body)}`)
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${of.body ?? ""}`)
}
