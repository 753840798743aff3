/** The Kubernetes API over HTTP, put together: who asks, what he may, which handler answers, in which form. */

import { isKnown } from "../errors.ts"
import type { Registry } from "../registry/registry.ts"
import {
  type ApiRequest,
  authorize,
  createAuthenticator,
  impersonated,
  type User,
} from "./request/auth.ts"
import { BODY_BYTES_MAX } from "./request/body.ts"
import type { Call, Deps } from "./verbs/call.ts"
import { remove, removeCollection } from "./verbs/delete.ts"
import { statusErrorOf, withHint } from "./answer/failures.ts"
import { fixedRoutes, isFixed } from "./routes/fixed.ts"
import type { Checks } from "./routes/health.ts"
import { type Histogram, Metrics, type Sum } from "./routes/metrics.ts"
import { negotiate, type Representation } from "./request/negotiate.ts"
import { requestTimeoutMs } from "./request/options.ts"
import { get, list } from "./verbs/read.ts"
import { readRequest, type RequestInfo, type ResourcePath, route } from "./request/request.ts"
import { isStored, type Resource } from "./kinds/resources.ts"
import {
  type Answer,
  type ApiResponse,
  closing,
  converted,
  PLAIN_JSON,
  sendAnswer,
  sendStatus,
} from "./answer/respond.ts"
import { review } from "./verbs/reviews.ts"
import {
  badRequest,
  clientGone,
  methodNotAllowed,
  serviceUnavailable,
  StatusError,
  tooLarge,
  tooManyRequests,
  tooSlow,
  unauthorized,
} from "./status.ts"
import { isSupervisorPath, supervise, type Supervisor } from "./routes/supervisor.ts"
import { watch } from "./verbs/watch.ts"
import { create, patch, update } from "./verbs/write.ts"

export interface ApiLog {
  warn(of: object, message: string): void
  error(of: object, message: string): void
}

export interface ApiOptions {
  readonly registry: Registry
  readonly supervisor: Supervisor
  /** What must hold before the server is ready, by name. */
  readonly health: () => Checks
  /** As parseTokenFile gives them. */
  readonly tokens: ReadonlyMap<string, User>
  /** The password of the user `server`, as it is now. */
  readonly serverPassword: () => string
  readonly version: string
  readonly now: () => Date
  /** Milliseconds of a clock that never goes back. */
  readonly monotonicMs: () => number
  readonly log: ApiLog
  /** Aborts when the server ends: watches then do too. */
  readonly signal: AbortSignal
  /** Others may add to it. */
  readonly metrics?: Metrics
  /** Told of each answer to a request for a resource; watches are left out. */
  readonly answered?: (answer: { readonly kind: string; readonly ms: number }) => void
}

/** Kubernetes' own limits of requests that run at once; watches do not count. */
const IN_FLIGHT_MAX = { readOnly: 400, mutating: 200 } as const
type RequestKind = keyof typeof IN_FLIGHT_MAX

type Handler = (deps: Deps, call: Call) => Promise<Answer>

/** By verb. A watch is no answer, but a stream. */
const HANDLERS: Readonly<Record<string, Handler>> = {
  get,
  list,
  create,
  update,
  patch,
  delete: remove,
  deletecollection: removeCollection,
}

/** Returns what answers one request. It never throws. */
export function createApi(options: ApiOptions): (req: ApiRequest, res: ApiResponse) => void {
  const api = new Api(options)
  return (request, response) => void api.serve(request, response)
}

class Api {
  readonly #options: ApiOptions
  readonly #authenticate: (request: ApiRequest) => User
  readonly #fixed: ReturnType<typeof fixedRoutes>
  readonly #inFlight = { readOnly: 0, mutating: 0 }
  readonly #observe: ReturnType<typeof requestMetrics>

  constructor(options: ApiOptions) {
    const { metrics = new Metrics(), tokens, serverPassword, supervisor } = options
    this.#options = options
    this.#authenticate = createAuthenticator({ tokens, serverPassword })
    this.#fixed = fixedRoutes({ ...options, metrics, cacerts: supervisor.cacerts })
    this.#observe = requestMetrics(metrics, this.#inFlight)
  }

  async serve(request: ApiRequest, response: ApiResponse): Promise<void> {
    const started = this.#options.monotonicMs()
    const seen: Seen = { info: undefined, resource: undefined, as: PLAIN_JSON }
    try {
      await this.#route(request, response, seen)
    } catch (error) {
      this.#fail(error, { request, response, as: seen.as })
    }
    const ms = this.#options.monotonicMs() - started
    this.#observe(seen, { code: response.statusCode, ms })
    const verb = seen.info?.verb
    if (seen.resource !== undefined && verb !== undefined && verb !== "watch")
      this.#options.answered?.({ kind: verb, ms })
  }

  #fail(
    error: unknown,
    of: { request: ApiRequest; response: ApiResponse; as: Representation },
  ): void {
    const { request, response, as } = of
    const status = statusErrorOf(error)
    if (status.code >= 500) this.#tell(error, status, request)
    if (response.headersSent) response.end()
    else sendStatus(response, status, as)
  }

  /** A datastore that is away, and whatever else may pass, is no failure of the server's. */
  #tell(error: unknown, status: StatusError, { method, url }: ApiRequest): void {
    const { log } = this.#options
    const { code, message, cause } = status
    const why = error === status ? cause : error
    const of = { method, path: url?.split("?")[0] }
    if (why === undefined) log.warn({ code, ...of }, `a request was refused: ${message}`)
    else if (isKnown(why) && code !== 500) log.warn({ err: why, ...of }, "a request was refused")
    else log.error({ err: why, ...of }, "a request failed")
  }

  async #route(request: ApiRequest, response: ApiResponse, seen: Seen): Promise<void> {
    const info = readRequest(request.method ?? "GET", request.url ?? "/")
    seen.info = info
    if (isSupervisorPath(info.path)) return this.#supervise(request, response, info)
    const user = impersonated(this.#authenticate(request), request.headers)
    authorize(user, info)
    const { target } = info
    if (target === undefined || isFixed(info)) return this.#fixed(request, response, info)
    const { headers } = request
    const { query } = info
    seen.as = negotiate({ accept: headers.accept, userAgent: headers["user-agent"], query })
    const resource = route(info, target)
    seen.resource = resource
    const body = () => readBody(request)
    const call = { ...partsOf(target), resource, query, headers, user, body }
    if (info.verb === "watch") return this.#watch(call, { response, as: seen.as })
    if (query.has("timeout")) requestTimeoutMs(query)
    const kind = ["get", "list"].includes(info.verb) ? "readOnly" : "mutating"
    const answer = await this.#limited(kind, response, () => this.#answer(call, info.verb))
    const now = this.#options.now()
    const object = converted(answer.object, seen.as.conversion, { resource, query, now })
    sendAnswer(response, { ...answer, object }, seen.as)
  }

  #answer(call: AnyCall, verb: string): Promise<Answer> {
    const { resource } = call
    if (!isStored(resource)) return review(this.#options, call)
    const handler = HANDLERS[verb]
    if (handler === undefined) throw methodNotAllowed()
    return handler(this.#options, { ...call, resource })
  }

  async #watch(call: AnyCall, to: { response: ApiResponse; as: Representation }): Promise<void> {
    const { resource } = call
    if (!isStored(resource)) throw methodNotAllowed()
    await watch(this.#options, { ...call, resource }, to)
  }

  async #supervise(request: ApiRequest, response: ApiResponse, info: RequestInfo): Promise<void> {
    const { supervisor, signal: ending } = this.#options
    const user = this.#knownTo(request)
    const address = request.socket.remoteAddress ?? ""
    const signal = AbortSignal.any([ending, closing(response, clientGone())])
    const call = { info, user, address, signal, body: () => readBody(request) }
    try {
      await supervise(supervisor, call, response)
    } catch (error) {
      if (error === ending.reason) throw serviceUnavailable("the server is ending")
      // Its clients know our codes.
      throw isKnown(error) ? withHint(error) : error
    }
  }

  /** K3s' words for a wrong password. */
  #knownTo(request: ApiRequest): User {
    try {
      return this.#authenticate(request)
    } catch (error) {
      throw error instanceof StatusError ? unauthorized("not authorized") : error
    }
  }

  /** A request runs until it is done and its answer is read, also where the client has gone away before. */
  #limited(kind: RequestKind, response: ApiResponse, run: () => Promise<Answer>): Promise<Answer> {
    if (this.#inFlight[kind] >= IN_FLIGHT_MAX[kind])
      throw tooManyRequests("Too many requests, please try again later.", 1)
    this.#inFlight[kind]++
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    response.once("close", resolve)
    const running = run()
    void Promise.allSettled([running, closed]).then(() => this.#inFlight[kind]--)
    return running
  }
}

/** Of a resource that may be no stored one. */
type AnyCall = Omit<Call, "resource"> & { readonly resource: Resource }

const partsOf = ({ namespace, name = "", subresource }: ResourcePath) => ({
  namespace,
  name,
  subresource,
})

/** What is known of a request so far. */
interface Seen {
  info: RequestInfo | undefined
  resource: Resource | undefined
  as: Representation
}

const VERBS: Readonly<Record<string, string>> = {
  get: "GET",
  list: "LIST",
  watch: "WATCH",
  create: "POST",
  post: "POST",
  update: "PUT",
  put: "PUT",
  patch: "PATCH",
  delete: "DELETE",
  deletecollection: "DELETECOLLECTION",
}

/** A method may be any word, also the name of what every object inherits. */
const verbLabel = (verb: string): string =>
  (Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined) ?? "OTHER"

function requestMetrics(metrics: Metrics, inFlight: Readonly<Record<RequestKind, number>>) {
  const totals = metrics.counter("apiserver_request_total", "Requests by verb, resource and code.")
  const durations = metrics.histogram(
    "apiserver_request_duration_seconds",
    "How long requests took; watches are left out.",
  )
  metrics.gaugeOf(
    "apiserver_current_inflight_requests",
    "Requests that run now; watches are left out.",
    () => Object.entries(inFlight).map(([kind, count]) => [{ request_kind: kind }, count]),
  )
  const series = new Map<string, { total: Sum; duration: Histogram }>()
  return ({ info, resource }: Seen, { code, ms }: { code: number; ms: number }): void => {
    const verb = verbLabel(info?.verb ?? "")
    const scope = scopeOf(resource, info?.target)
    const subresource = (resource && info?.target?.subresource) ?? ""
    const key = `${verb} ${scope} ${resource?.plural}/${subresource} ${code}`
    let known = series.get(key)
    if (known === undefined) {
      const { group = "", version = "", plural = "" } = resource ?? {}
      const labels = { verb, group, version, resource: plural, subresource, scope }
      known = { total: totals({ ...labels, code: String(code) }), duration: durations(labels) }
      series.set(key, known)
    }
    known.total.add(1)
    if (verb !== "WATCH") known.duration.observe(ms / 1000)
  }
}

function scopeOf(resource: Resource | undefined, target: ResourcePath | undefined): string {
  if (resource === undefined || target === undefined) return ""
  if (target.name !== undefined) return "resource"
  return target.namespace === undefined ? "cluster" : "namespace"
}

/** As long as Kubernetes lets a request take. */
const BODY_MS_MAX = 60_000

/** Throws 413, 408 where the body is not here in time, and 400 where the client goes away in the middle. */
function readBody(request: ApiRequest): Promise<Buffer> {
  const limit = () => tooLarge(`limit is ${BODY_BYTES_MAX}`)
  if (Number(request.headers["content-length"] ?? 0) > BODY_BYTES_MAX)
    return Promise.reject(limit())
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const chunks: Buffer[] = []
  let sizeBytes = 0
  request.on("data", (chunk: Buffer) => {
    sizeBytes += chunk.length
    if (sizeBytes > BODY_BYTES_MAX) reject(limit())
    else chunks.push(chunk)
  })
  request.on("end", () =>
    resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)),
  )
  const gone = () => {
    // An error is made for its stack, which every request would pay for.
    if (!request.readableEnded) reject(badRequest("the request ended in the middle of its body"))
  }
  request.on("error", gone)
  request.on("close", gone)
  const late = setTimeout(() => reject(tooSlow(BODY_MS_MAX)), BODY_MS_MAX).unref()
  return promise.finally(() => clearTimeout(late))
}
