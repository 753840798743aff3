/** gRPC to one of etcd's members: calls and streams over one HTTP/2 connection, which moves on to the next member where
 *  this one is away, stands still or has no leader. A call that may have changed something is never sent twice. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from "node:http2"
import { isKnown, KnownError } from "../errors.ts"
import { etcdError, NoAnswer } from "./etcd-errors.ts"
import { AnswerLost, NotDone, reasonOf } from "./lost-answer.ts"
import type { Tls } from "./tls-files.ts"

const CONNECT_TIMEOUT_MS = 3_000
const ANSWER_TIMEOUT_MS = 8_000
/** etcd ends a connection that is pinged more than once in 5 s, or while nothing is asked of it. */
const PING_EVERY_MS = 5_500
const PONG_TIMEOUT_MS = 3_000
/** As much as gRPC's own clients take in before they must say so. */
const WINDOW_BYTES = 16 << 20
/** What a session may hold, in MB. At Node's own 10 it ends streams whose answers are on their way: writes that are committed. */
const SESSION_MB_MAX = 1024
const PREFIX_BYTES = 5

interface ChannelOptions {
  /** Origins such as `https://host:2379`. */
  readonly endpoints: readonly string[]
  /** Asked for each connection. */
  readonly tls?: () => Tls
}

export interface CallOptions {
  /** Whether it may be sent again after its answer was lost. */
  readonly isRepeatable?: boolean
  readonly timeoutMs?: number
  /** A longer answer is left where it is. */
  readonly answerBytesMax?: number
}

interface Asked extends Required<Pick<CallOptions, "timeoutMs" | "answerBytesMax">> {
  readonly method: string
  readonly message: Buffer
}

export class EtcdChannel {
  readonly #options: ChannelOptions
  #turn = 0
  #session: ClientHttp2Session | undefined
  #connecting: Promise<ClientHttp2Session> | undefined
  #streams = 0
  readonly #closing = new AbortController()

  constructor(options: ChannelOptions) {
    this.#options = options
  }

  /** For messages: which member is asked. */
  get where(): string {
    return `etcd at ${this.#endpoint}`
  }

  /** One call. Rejects with {@link NotDone} where nothing was asked of anybody, with {@link AnswerLost} where the
   *  answer did not come, or was longer than is taken in. */
  async call(method: string, message: Buffer, options: CallOptions = {}): Promise<Buffer> {
    const { isRepeatable = false, timeoutMs = ANSWER_TIMEOUT_MS } = options
    const { answerBytesMax = Number.POSITIVE_INFINITY } = options
    for (let attempt = 0; ; attempt += 1) {
      const session = await this.#connected()
      try {
        return await this.#ask(session, { method, message, timeoutMs, answerBytesMax })
      } catch (error) {
        // With what else goes on over the connection, as a snapshot; where there is no other member nothing is gained.
        const isStill = error instanceof NoAnswer && this.#options.endpoints.length > 1
        if (error instanceof NotDone || isStill) this.#leave(session)
        const mayRepeat = error instanceof NotDone || (isRepeatable && error instanceof AnswerLost)
        if (!mayRepeat || attempt >= this.#options.endpoints.length) throw error
      }
    }
  }

  /** What a member says to one message until the signal; ends by rejecting where the stream does. `isLast`: the method takes no
   *  more messages. From 3.5.30 on etcd answers to none of these before it was told so. */
  async *stream(
    method: string,
    message: Buffer,
    { signal, isLast = false }: { readonly signal: AbortSignal; readonly isLast?: boolean },
  ): AsyncGenerator<Buffer> {
    const session = await this.#connected()
    const stream = this.#open(session, method)
    const stop = (): void => stream.close(constants.NGHTTP2_CANCEL)
    signal.addEventListener("abort", stop, { once: true })
    // A member that is about to end waits for its streams, for seconds: another one goes on with them at once.
    session.once("goaway", stop)
    try {
      if (signal.aborted) return
      const ended = statusOf(stream, this.where)
      ended.catch(() => {}) // told below, where the messages end
      if (isLast) stream.end(framed(message))
      else stream.write(framed(message))
      yield* messagesOf(stream)
      await ended
      throw new AnswerLost(`${this.where}: the stream ended`)
    } catch (error) {
      if (signal.aborted) return
      throw this.#known(error)
    } finally {
      signal.removeEventListener("abort", stop)
      session.off("goaway", stop)
      stop()
    }
  }

  close(): void {
    this.#closing.abort()
  }

  get #endpoint(): string {
    const { endpoints } = this.#options
    return endpoints[this.#turn % endpoints.length] ?? ""
  }

  async #ask(
    session: ClientHttp2Session,
    { method, message, timeoutMs, answerBytesMax }: Asked,
  ): Promise<Buffer> {
    const stream = this.#open(session, method, { "grpc-timeout": `${timeoutMs}m` })
    const late = setTimeout(() => {
      stream.destroy(new NoAnswer(`${this.where}: no answer within ${timeoutMs / 1000} s`))
    }, timeoutMs)
    try {
      const ended = statusOf(stream, this.where)
      ended.catch(() => {}) // told below
      stream.end(framed(message))
      let answer: Buffer | undefined
      for await (const body of messagesOf(stream, answerBytesMax)) answer = body
      await ended
      if (answer === undefined) throw new AnswerLost(`${this.where}: an answer without a message`)
      return answer
    } catch (error) {
      if (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM)
        throw new NotDone(`${this.where}: takes no more requests`)
      throw this.#known(error)
    } finally {
      clearTimeout(late)
    }
  }

  #open(
    session: ClientHttp2Session,
    method: string,
    headers: Readonly<Record<string, string>> = {},
  ): ClientHttp2Stream {
    try {
      const stream = session.request({
        ":method": "POST",
        ":path": method,
        "content-type": "application/grpc",
        te: "trailers",
        // A member that is cut off from the others refuses, and ends its watches.
        hasleader: "true",
        ...headers,
      })
      this.#streams += 1
      stream.once("close", () => (this.#streams -= 1))
      stream.on("error", () => {}) // whoever reads the stream learns of it
      return stream
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new NotDone(`${this.where}: ${why}`, { cause })
    }
  }

  /** What Node says of a connection that ended under a request. */
  #known(error: unknown): unknown {
    if (!(error instanceof Error) || !("code" in error) || isKnown(error)) return error
    return new AnswerLost(`${this.where}: the connection ended (${String(error.code)})`, {
      cause: error,
    })
  }

  /** The next call goes to the next member, over a new connection. What is under way on this one has time to end. */
  #leave(session: ClientHttp2Session): void {
    if (this.#session !== session) return
    this.#session = undefined
    this.#turn += 1
    session.close()
    setTimeout(() => session.destroy(), ANSWER_TIMEOUT_MS).unref()
  }

  #connected(): Promise<ClientHttp2Session> {
    if (this.#closing.signal.aborted)
      return Promise.reject(new KnownError("StoreUnavailable", "the store is closed"))
    const session = this.#session
    if (session !== undefined && !session.closed && !session.destroyed)
      return Promise.resolve(session)
    this.#connecting ??= this.#connectAny().finally(() => (this.#connecting = undefined))
    return this.#connecting
  }

  async #connectAny(): Promise<ClientHttp2Session> {
    const failures: string[] = []
    for (const _ of this.#options.endpoints) {
      try {
        const tls = this.#options.tls?.() ?? {}
        const session = await connectTo(this.#endpoint, tls, this.#closing.signal)
        this.#session = session
        this.#keepAlive(session)
        return session
      } catch (error) {
        if (this.#closing.signal.aborted) break
        if (isKnown(error)) throw error
        const why = error instanceof Error ? reasonOf(error) : String(error)
        failures.push(`${this.where}: ${why}${doubtOf(why)}`)
        this.#turn += 1
      }
    }
    throw new KnownError("StoreUnavailable", failures.join("; ") || "the store is closed")
  }

  /** A member that stands still takes connections and answers nothing: without a pong the connection ends. */
  #keepAlive(session: ClientHttp2Session): void {
    const timer = setInterval(() => {
      if (this.#streams === 0 || session.destroyed) return
      const late = setTimeout(() => session.destroy(), PONG_TIMEOUT_MS)
      session.ping(() => clearTimeout(late))
    }, PING_EVERY_MS)
    session.once("close", () => clearInterval(timer))
  }
}

/** What an etcd does that is spoken to with https where it has http, or the other way round; and what other servers do.
 *  A reset is how an answer to bytes that were not read may arrive. */
const MISUNDERSTOOD =
  /before secure TLS connection|wrong version number|^the connection ended$|^Protocol error$|^(read|write) (ECONNRESET|EPIPE)$/
const doubtOf = (why: string): string =>
  MISUNDERSTOOD.test(why) ? "; is an etcd there, and is it http or https as said?" : ""

/** Resolves when the member at `origin` has spoken. The connection ends with the signal. */
function connectTo(origin: string, tls: Tls, signal: AbortSignal): Promise<ClientHttp2Session> {
  const { promise, resolve, reject } = Promise.withResolvers<ClientHttp2Session>()
  const session = connect(origin, {
    ...tls,
    maxSessionMemory: SESSION_MB_MAX,
    settings: { initialWindowSize: WINDOW_BYTES },
  })
  session.setMaxListeners(0) // each stream listens for its end
  const late = setTimeout(() => {
    reject(new Error(`no word within ${CONNECT_TIMEOUT_MS / 1000} s`))
    session.destroy()
  }, CONNECT_TIMEOUT_MS)
  session.once("remoteSettings", () => {
    session.setLocalWindowSize(WINDOW_BYTES)
    resolve(session)
  })
  session.on("error", reject) // later ones are told by the streams
  const end = (): void => session.destroy()
  signal.addEventListener("abort", end, { once: true })
  session.once("close", () => {
    signal.removeEventListener("abort", end)
    reject(new Error("the connection ended"))
  })
  return promise.finally(() => clearTimeout(late))
}

/** A message as gRPC sends it: not compressed, its length, itself. */
function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES)
  prefix.writeUInt32BE(message.length, 1)
  return Buffer.concat([prefix, message])
}

/** The messages of a stream, however they are cut into pieces. Throws {@link AnswerLost} before it has taken in a longer one. */
async function* messagesOf(
  stream: ClientHttp2Stream,
  bytesMax = Number.POSITIVE_INFINITY,
): AsyncGenerator<Buffer> {
  let pieces: Buffer[] = []
  let have = 0
  let wanted = PREFIX_BYTES
  for await (const piece of stream as AsyncIterable<Buffer>) {
    pieces.push(piece)
    have += piece.length
    if (have < wanted) continue
    let rest = pieces.length === 1 ? piece : Buffer.concat(pieces)
    for (;;) {
      const sizeBytes = rest.length < PREFIX_BYTES ? 0 : rest.readUInt32BE(1)
      if (sizeBytes > bytesMax) throw new AnswerLost(`an answer of ${sizeBytes} bytes`)
      wanted = PREFIX_BYTES + sizeBytes
      if (rest.length < wanted || rest.length < PREFIX_BYTES) break
      yield rest.subarray(PREFIX_BYTES, wanted)
      rest = rest.subarray(wanted)
    }
    pieces = rest.length === 0 ? [] : [rest]
    have = rest.length
  }
}

/** Resolves at the end of a stream that says it went well. */
function statusOf(stream: ClientHttp2Stream, where: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let isTold = false
  const ended = (headers: IncomingHttpHeaders): void => {
    isTold = true
    const code = Number(headers["grpc-status"])
    if (code === 0) return resolve()
    reject(etcdError({ code, message: decoded(String(headers["grpc-message"] ?? "")) }, where))
  }
  stream.once("response", (headers) => {
    const { ":status": http = 0, "content-type": type = "" } = headers
    if (headers["grpc-status"] !== undefined) ended(headers)
    else if (http !== 200 || !type.startsWith("application/grpc")) {
      const seen = `${where}: HTTP status ${http}, content type "${type}"`
      reject(new KnownError("StoreUnavailable", `${seen}; is an etcd at that address?`))
      stream.close()
    }
  })
  stream.once("trailers", ended)
  stream.once("close", () => {
    // An error is made for its stack, which every call would pay for.
    if (!isTold) reject(new AnswerLost(`${where}: the connection ended`))
  })
  return promise
}

/** gRPC's percent-encoding. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
