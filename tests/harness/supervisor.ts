/** A small HTTPS server with certificates like a server's and answers that a test writes, for what a true server does rarely. */
import { once } from "node:events"
import type { IncomingMessage, ServerResponse } from "node:http"
import { createServer } from "node:https"
import type { AddressInfo } from "node:net"
import { issueServing, makeAuthorities } from "../../src/cluster/issue.ts"
import type { Pair } from "../../src/cluster/pem.ts"
import { caHash, formatToken } from "../../src/cluster/token.ts"

export interface Received {
  /** "PUT /v1-keyturn/encrypt/config". */
  readonly request: string
  readonly authorization: string | undefined
  readonly body: unknown
}

/** Status and JSON body; null: the connection is cut instead. */
export type Reply = {
  readonly status?: number
  readonly json?: unknown
  readonly text?: string
  readonly headers?: object
} | null

export interface FakeOptions {
  /** What `/cacerts` shows in place of the CA that issued the certificate. */
  readonly cacerts?: Reply
  /** Of the certificate; by default one that all servers here share. */
  readonly authority?: Pair
  /** Names of the certificate; by default those of this machine. */
  readonly names?: readonly string[]
  reply?(received: Received): Reply | Promise<Reply>
}

export type Supervisor = Awaited<ReturnType<typeof startSupervisor>>

const now = new Date()
const authorities = makeAuthorities(now)
/** Another CA, which issued nothing here. */
export const strangers = makeAuthorities(now)

/** A server that never was configured. */
const untouched = ({ request }: Received): Reply => ({
  json: request.endsWith("status") ? {} : null,
})

export async function startSupervisor(options: FakeOptions = {}) {
  const { cacerts, names, reply = untouched } = options
  const ca = options.authority ?? (await authorities).server
  const pair = await issueServing(ca, { names: names ?? ["localhost", "127.0.0.1"], now })
  const received: Received[] = []
  const serve = async (req: IncomingMessage, res: ServerResponse) => {
    if (req.url === "/cacerts") {
      return answer(res, cacerts === undefined ? { text: ca.cert } : cacerts)
    }
    const seen = await read(req)
    received.push(seen)
    answer(res, await reply(seen))
  }
  const server = createServer(pair, (req, res) => void serve(req, res))
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  return {
    url: `https://127.0.0.1:${port}`,
    token: formatToken({ caHash: caHash(ca.cert), user: "server", password: "p4ss" }),
    received,
    ca: ca.cert,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    },
  }
}

async function read(req: IncomingMessage): Promise<Received> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  const text = Buffer.concat(chunks).toString()
  return {
    request: `${req.method} ${req.url}`,
    authorization: req.headers.authorization,
    body: text === "" ? undefined : JSON.parse(text),
  }
}

function answer(res: ServerResponse, reply: Reply): void {
  if (reply === null) return void res.socket?.destroy()
  const { status = 200, json, text, headers = {} } = reply
  res.writeHead(status, { ...headers })
  res.end(text ?? JSON.stringify(json ?? null))
}
