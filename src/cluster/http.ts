/** One HTTPS request with its answer, and node's errors told in plain words. Whom to trust is the agent's. */
import { type Agent, request } from "node:https"
import type { IncomingMessage } from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import { getSystemErrorMessage } from "node:util"
import { ERRORS, type ErrorCode, KnownError } from "../errors.ts"

export interface Exchange {
  readonly url: URL
  readonly method: "GET" | "PUT" | "POST"
  readonly agent: Agent
  /** How long the answer is waited for. */
  readonly timeoutMs: number
  /** Of what may take as long as it takes: how to hear that the server is still there. The answer is then waited for until nothing
   *  was heard for `timeoutMs`. */
  readonly isThere?: (signal: AbortSignal) => Promise<boolean>
  readonly signal: AbortSignal
  /** "user:password" for Basic authentication. */
  readonly auth?: string
  readonly body?: object
}

export interface Answer {
  readonly status: number
  readonly body: string
  /** The server did nothing yet and asks to come again (Retry-After). */
  readonly comeAgain: boolean
}

/** Throws ServerUntrusted where the agent does not accept the server's certificate, ServerUnreachable where it was not
 *  reached, and where no answer came: ServerUnreachable for a GET, OutcomeUnknown for the others. */
export async function exchange(asked: Exchange): Promise<Answer> {
  const { url, method, agent, auth, body, signal } = asked
  using patience = startPatience(asked)
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const sent = request(url, {
    method,
    agent,
    ...(auth === undefined ? {} : { auth }),
    headers: body === undefined ? {} : { "content-type": "application/json" },
    signal: AbortSignal.any([signal, patience.over]),
  })
  sent.once("response", resolve).once("error", reject)
  sent.end(body === undefined ? undefined : JSON.stringify(body))
  try {
    const response = await promise
    return {
      status: response.statusCode ?? 0,
      body: await textOf(response),
      comeAgain: response.headers["retry-after"] !== undefined,
    }
  } catch (error) {
    signal.throwIfAborted()
    throw toldPlainly(error, asked)
  }
}

/** How often, while an answer may be waited for, the server is asked whether it is there. */
const LOOKS = 6

/** Ends with the block; `over` aborts when the answer has been waited for long enough. That is counted in ticks: however long this
 *  process itself was stopped, that is one at most, and the answer may have come meanwhile. */
function startPatience({ timeoutMs, isThere }: Pick<Exchange, "timeoutMs" | "isThere">) {
  const over = new AbortController()
  const answered = new AbortController()
  let left = LOOKS
  const tick = () => {
    if (--left === 0) over.abort()
  }
  const timer = setInterval(tick, timeoutMs / LOOKS)
  const look = async () => {
    for (;;) {
      await sleep(timeoutMs / LOOKS, undefined, { signal: answered.signal })
      if (await isThere?.(answered.signal)) left = LOOKS
    }
  }
  if (isThere !== undefined) look().catch(() => {})
  return {
    over: over.signal,
    [Symbol.dispose]() {
      clearInterval(timer)
      answered.abort()
    },
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

/** OpenSSL's and node's names for a certificate that was not accepted. */
const CERTIFICATE =
  /^(CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|ERR_TLS_CERT_|HOSTNAME_|INVALID_CA)/

function toldPlainly(error: unknown, { url, method, timeoutMs, isThere }: Exchange): unknown {
  if (!(error instanceof Error)) return error
  const { origin } = url
  const { code = error.name, errno, syscall }: NodeJS.ErrnoException = error
  const known = (as: "ServerUntrusted" | "ServerUnreachable" | "OutcomeUnknown", message: string) =>
    new KnownError(as, message, { cause: error })
  if (CERTIFICATE.test(code)) {
    return known("ServerUntrusted", `CA cert validation failed: ${origin}: ${error.message}`)
  }
  const late = code === "ABORT_ERR" || error.name === "AbortError"
  const why = late
    ? `${isThere === undefined ? "no answer within" : "nothing was heard of it for"} ${timeoutMs / 1000} s`
    : errno === undefined
      ? code
      : getSystemErrorMessage(errno)
  const neverSent = syscall === "connect" || syscall === "getaddrinfo" || code === "ECONNREFUSED"
  if (method === "GET" || neverSent)
    return known("ServerUnreachable", `cannot reach ${origin}: ${why}`)
  return known("OutcomeUnknown", `${origin} may have done it, but its answer did not come: ${why}`)
}

/** No part of an answer is quoted that is not a Status: it may be anybody's. */
export function jsonOf({ body, status }: Answer, url: URL): unknown {
  try {
    return JSON.parse(body)
  } catch {
    throw new KnownError("ServerFailed", `${url.href}: ${status}, but the answer is not JSON`)
  }
}

/** The server's own failure where it says which; else what the HTTP status means. */
export function failureOf(answer: Answer, url: URL): KnownError {
  const { message, reason } = statusOf(answer)
  if (message !== undefined && isCode(reason)) return new KnownError(reason, message)
  const code = BY_STATUS[answer.status] ?? "ServerFailed"
  const said = message === undefined ? "" : ` ${message}`
  return new KnownError(code, `${url.href}: ${answer.status}${said}`)
}

const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  401: "Unauthorized",
  403: "Forbidden",
  503: "ServerStarting",
}

/** What of Kubernetes' Status is read here. */
interface Status {
  readonly kind: string
  readonly message: string
  readonly reason: string
}

/** A failure of the server's has its code from src/errors.ts as the Status' reason. */
function statusOf({ body }: Answer): Partial<Status> {
  try {
    const status = JSON.parse(body) as Partial<Status>
    return status.kind === "Status" ? status : {}
  } catch {
    return {}
  }
}

const isCode = (reason: string | undefined): reason is ErrorCode =>
  reason !== undefined && Object.hasOwn(ERRORS, reason)
