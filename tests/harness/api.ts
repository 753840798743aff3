/** Plain requests to a server's API as its administrator, over connections that are kept; for what kubectl is too slow for. */
import { once } from "node:events"
import { readFileSync } from "node:fs"
import type { ClientRequest, IncomingMessage } from "node:http"
import { Agent, request } from "node:https"
import { createInterface } from "node:readline"
import { parse } from "yaml"

export interface ApiClient extends Disposable {
  /** `body` is sent as JSON. Rejects where the connection breaks. */
  call(method: string, path: string, body?: unknown): Promise<{ status: number; body: string }>
  /** The lines of an answer as they come, until it ends or the signal ends it; a broken connection ends it too. */
  lines(path: string, signal: AbortSignal): AsyncIterable<string>
}

export function apiClient(kubeconfig: string, { maxSockets = 32 } = {}): ApiClient {
  const { clusters, users } = parse(readFileSync(kubeconfig, "utf8"))
  const { server, "certificate-authority-data": ca } = clusters[0].cluster
  const { "client-certificate-data": cert, "client-key-data": key } = users[0].user
  const pem = (base64: string) => Buffer.from(base64, "base64")
  const agent = new Agent({
    keepAlive: true,
    maxSockets,
    ca: pem(ca),
    cert: pem(cert),
    key: pem(key),
  })
  return {
    call: (method, path, body) => send(agent, { url: server + path, method, body }),
    lines: (path, signal) => linesOf(request(server + path, { agent, signal }).end()),
    [Symbol.dispose]: () => agent.destroy(),
  }
}

function send(
  agent: Agent,
  { url, method, body }: { url: string; method: string; body: unknown },
): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>()
  const headers = { "content-type": "application/json" }
  const req = request(url, { method, agent, headers }, (res) => {
    const chunks: Buffer[] = []
    res.on("data", (chunk) => chunks.push(chunk))
    res.once("error", reject)
    res.once("end", () => {
      resolve({ status: res.statusCode ?? 0, body: Buffer.concat(chunks).toString() })
    })
  })
  req.once("error", reject)
  req.end(body === undefined ? undefined : JSON.stringify(body))
  return promise
}

async function* linesOf(req: ClientRequest): AsyncIterable<string> {
  req.on("error", () => {}) // an end like any other
  const answered = once(req, "response").catch(() => undefined)
  const [res] = ((await answered) ?? []) as IncomingMessage[]
  if (res === undefined) return
  const lines = createInterface({ input: res })
  try {
    yield* lines
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error
  }
}
