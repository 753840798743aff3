/** JSON requests of the administrator to a server in the test's process. */

import { http1, type HttpClient } from "./https.ts"
import type { Served } from "./served.ts"

export interface Answered {
  readonly status: number
  /** Parsed; a watch's events as a list. */
  readonly body: unknown
}

export interface Admin extends Disposable {
  readonly http: HttpClient
  ask(line: string, body?: object, contentType?: string): Promise<Answered>
}

/** `ask("GET /api/v1/secrets")`, with the client certificate. */
export function administrator(served: Served): Admin {
  const http = http1(served, served.admin)
  return {
    http,
    [Symbol.dispose]: () => http[Symbol.dispose](),
    async ask(line, body, contentType = "application/json") {
      const [method = "", url = ""] = line.split(" ")
      const headers = { accept: "application/json", ...(body && { "content-type": contentType }) }
      const answer = await http.send({ method, url, headers, body: body && JSON.stringify(body) })
      return { status: answer.status, body: parsed(answer.body.toString()) }
    },
  }
}

function parsed(text: string): unknown {
  if (!text.startsWith('{"type":')) return text.startsWith("{") ? JSON.parse(text) : text
  const lines = text.split("\n").filter((line) => line !== "")
  return lines.map((line) => JSON.parse(line))
}
