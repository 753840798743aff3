/** One request over TLS, in either version of HTTP, with nothing between the test and the wire. */

import { connect, constants, type IncomingHttpHeaders } from "node:http2"
import { Agent, request } from "node:https"

export interface Peer {
  readonly port: number
  readonly ca: string
}

export interface Sent {
  readonly method: string
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer | undefined
}

export interface Received {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface HttpClient extends Disposable {
  send(sent: Sent): Promise<Received>
}

interface ClientCertificate {
  readonly cert: string
  readonly key: string
}

export function http1(peer: Peer, certificate?: ClientCertificate): HttpClient {
  const agent = new Agent({ keepAlive: true, ca: peer.ca, ...certificate })
  return {
    [Symbol.dispose]: () => agent.destroy(),
    send({ method, url, headers = {}, body }) {
      const { promise, resolve, reject } = Promise.withResolvers<Received>()
      // Of a DELETE node would send a body without its length.
      const isSized = body !== undefined && headers["transfer-encoding"] === undefined
      const length = !isSized ? {} : { "content-length": Buffer.byteLength(body) }
      const target = { host: "127.0.0.1", port: peer.port, path: url, method, agent }
      const options = { ...target, headers: { ...headers, ...length } }
      const sent = request(options, (response) => {
        const chunks: Buffer[] = []
        response.on("data", (chunk: Buffer) => chunks.push(chunk))
        response.once("error", reject)
        response.once("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        )
      })
      sent.once("error", reject)
      sent.end(body)
      return promise
    },
  }
}

export function http2(peer: Peer, certificate?: ClientCertificate): HttpClient {
  const session = connect(`https://127.0.0.1:${peer.port}`, { ca: peer.ca, ...certificate })
  session.on("error", () => {})
  return {
    [Symbol.dispose]: () => session.destroy(),
    send({ method, url, headers = {}, body }) {
      const { promise, resolve, reject } = Promise.withResolvers<Received>()
      const { HTTP2_HEADER_METHOD, HTTP2_HEADER_PATH, HTTP2_HEADER_STATUS } = constants
      const stream = session.request({
        [HTTP2_HEADER_METHOD]: method,
        [HTTP2_HEADER_PATH]: url,
        ...headers,
      })
      const chunks: Buffer[] = []
      let received: IncomingHttpHeaders = {}
      stream.once("response", (answer) => {
        received = answer
      })
      stream.on("data", (chunk: Buffer) => chunks.push(chunk))
      stream.once("error", reject)
      stream.once("end", () =>
        resolve({
          status: Number(received[HTTP2_HEADER_STATUS]),
          headers: received,
          body: Buffer.concat(chunks),
        }),
      )
      stream.end(body)
      return promise
    },
  }
}
