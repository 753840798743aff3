/** K3s' supervisor API, under its own prefix and under ours. On ours an operation is answered at once with its id, and there is
 *  more: the operation's record, the token, recovery keys.
 *
 *  Failures differ from K3s on purpose: whoever may ask is told the cause and what to do, not the number of a log line. */

import { setTimeout as sleep } from "node:timers/promises"
import { KnownError } from "../../errors.ts"
import { type Caller, type HistoryEntry, seenAgain } from "../../rotation/history.ts"
import {
  K3S_STAGES,
  leftBehind,
  type Operation,
  type OperationSeen,
  type Verb,
  VERBS,
} from "../../rotation/operation.ts"
import type { Request } from "../../rotation/verbs.ts"
import { isAnonymous, isServer, type User } from "../request/auth.ts"
import type { RequestInfo } from "../request/request.ts"
import { type ApiResponse, send } from "../answer/respond.ts"
import {
  badRequest,
  forbidden,
  genericFailure,
  serviceUnavailable,
  StatusError,
  unauthorized,
} from "../status.ts"
import { JSON_TYPE } from "../request/negotiate.ts"

export interface Supervisor {
  /** PEM of the authority that the serving certificate comes from. */
  readonly cacerts: string
  /** K3s' status. */
  status(): Promise<object>
  /** Archived keys that stored values are still under. It reads all of them. */
  archivedKeysInUse(signal: AbortSignal): Promise<object>
  /** Every key, with what is stored under it. It reads all of that. */
  listKeys(signal: AbortSignal): Promise<object>
  /** Which stored values are under which key. It reads all of them. */
  verify(asked: { key: string | undefined; opens: boolean; signal: AbortSignal }): Promise<object>
  /** Takes an archived key's bytes out of the keyring for good. */
  destroyKey(name: string, caller: Caller): Promise<object>
  /** Returns the operation that runs after the verb; undefined where it started none. */
  take(request: Request, caller: Caller): Promise<Operation | undefined>
  /** The running or last operation. */
  operation(): Promise<OperationSeen | undefined>
  /** What the verb would do; it reads every stored value. */
  plan(verb: Verb, signal: AbortSignal): Promise<object>
  /** What was done to the keys, oldest first. */
  history(): Promise<readonly HistoryEntry[]>
  /** Returns the token that holds from now on. */
  rotateToken(newToken: string | undefined, caller: Caller): Promise<string>
  /** `id`: by which it is listed and revoked. */
  createRecoveryKey(caller: Caller): Promise<{ readonly recoveryKey: string; readonly id: string }>
  /** Those that open the keyring, oldest first. */
  recoveryKeys(): Promise<readonly object[]>
  /** From then on it opens nothing but copies of the datastore from before. */
  revokeRecoveryKey(id: string, caller: Caller): Promise<void>
  /** Copies the whole datastore into a file beside it, which `path` names. */
  saveSnapshot(name: string, caller: Caller): Promise<{ readonly path: string }>
  /** Makes a server a member of the embedded etcd, and returns what it needs to be one. */
  takeIn(request: {
    readonly name: string
    readonly peerUrl: string
    readonly formerPeerUrl?: string
  }): Promise<object>
  /** Ends this server's membership, and this server. */
  leave(): Promise<void>
}

export interface SupervisorCall {
  readonly info: RequestInfo
  readonly user: User
  /** Of the client. */
  readonly address: string
  /** Aborts when the client has gone and when the server ends: what only reads then ends too. */
  readonly signal: AbortSignal
  body(): Promise<Buffer>
}

export const KEYTURN_PREFIX = "/v1-keyturn/"
export const K3S_PREFIX = "/v1-k3s/"

export const isSupervisorPath = (path: string): boolean =>
  path.startsWith(KEYTURN_PREFIX) || path.startsWith(K3S_PREFIX)

type Route = (supervisor: Supervisor, call: SupervisorCall) => Promise<object | null | undefined>

/** By method and path below the prefix. */
const SHARED: Readonly<Record<string, Route>> = {
  "GET encrypt/status": (supervisor) => supervisor.status(),
}

const ROUTES: Readonly<Record<string, Readonly<Record<string, Route>>>> = {
  [K3S_PREFIX]: {
    ...SHARED,
    "PUT encrypt/config": async (supervisor, call) => {
      const request = readVerb(await readJson(call))
      const operation = request && (await supervisor.take(request, callerOf(call)))
      if (operation && request?.verb === "rotate-keys")
        await ended(supervisor, operation, call.signal)
      return undefined
    },
  },
  [KEYTURN_PREFIX]: {
    ...SHARED,
    "PUT encrypt/config": async (supervisor, call) => {
      const request = readVerb(await readJson(call))
      const operation = request && (await supervisor.take(request, callerOf(call)))
      return { operation: operation?.id ?? null }
    },
    "GET encrypt/archived-keys-in-use": (supervisor, { signal }) =>
      supervisor.archivedKeysInUse(signal),
    "GET encrypt/keys": (supervisor, { signal }) => supervisor.listKeys(signal),
    "GET encrypt/verify": (supervisor, { info: { query }, signal }) =>
      supervisor.verify({
        key: query.get("key") ?? undefined,
        opens: query.get("open") === "true",
        signal,
      }),
    "POST encrypt/keys/destroy": async (supervisor, call) => {
      const { name, confirm } = await readJson(call)
      if (typeof name !== "string" || name !== confirm)
        throw badRequest("name and confirm must be one string, the name of the key")
      return supervisor.destroyKey(name, callerOf(call))
    },
    "GET encrypt/operation": async (supervisor) => (await supervisor.operation()) ?? null,
    "GET encrypt/plan": (supervisor, { info, signal }) => {
      const verb = VERBS.find((known) => known === info.query.get("verb"))
      if (verb === undefined) throw badRequest(`verb must be one of ${VERBS.join(", ")}`)
      return supervisor.plan(verb, signal)
    },
    "GET encrypt/history": (supervisor) => supervisor.history(),
    "PUT token": async (supervisor, call) => {
      const { newToken } = await readJson(call)
      if (newToken !== undefined && typeof newToken !== "string")
        throw badRequest("newToken must be a string")
      return { token: await supervisor.rotateToken(newToken, callerOf(call)) }
    },
    "POST etcd/members": async (supervisor, call) => {
      const { name, peerUrl, formerPeerUrl } = await readJson(call)
      if (typeof name !== "string" || typeof peerUrl !== "string" || !URL.canParse(peerUrl))
        throw badRequest("name and peerUrl must be a member's")
      const former = typeof formerPeerUrl === "string" && { formerPeerUrl }
      return supervisor.takeIn({ name, peerUrl, ...former })
    },
    "POST leave": async (supervisor) => {
      await supervisor.leave()
      return {}
    },
    "GET recovery-key": (supervisor) => supervisor.recoveryKeys(),
    "POST recovery-key": (supervisor, call) => supervisor.createRecoveryKey(callerOf(call)),
    "POST recovery-key/revoke": async (supervisor, call) => {
      const { id } = await readJson(call)
      if (typeof id !== "string") throw badRequest("id must be a string")
      await supervisor.revokeRecoveryKey(id, callerOf(call))
      return {}
    },
    "POST snapshot": async (supervisor, call) => {
      const { name } = await readJson(call)
      if (typeof name !== "string") throw badRequest("name must be a string")
      return supervisor.saveSnapshot(name, callerOf(call))
    },
  },
}

const callerOf = ({ user, address }: SupervisorCall): Caller => ({ user: user.name, address })

/** Throws StatusError and KnownError. */
export async function supervise(
  supervisor: Supervisor,
  call: SupervisorCall,
  response: ApiResponse,
): Promise<void> {
  const { user, info } = call
  if (isAnonymous(user)) throw unauthorized("not authorized")
  if (!isServer(user)) throw forbiddenHere()
  const prefix = info.path.startsWith(K3S_PREFIX) ? K3S_PREFIX : KEYTURN_PREFIX
  const below = info.path.slice(prefix.length)
  const routes = ROUTES[prefix] ?? {}
  const route = routes[`${info.method} ${below}`]
  if (route === undefined) throw noRoute(Object.keys(routes), below)
  const answer = await route(supervisor, call)
  const body = answer === undefined ? "" : `${JSON.stringify(answer)}\n`
  send(response, { code: 200, contentType: JSON_TYPE, body })
}

const forbiddenHere = () =>
  new StatusError({ ...forbidden({ resource: "" }, ""), code: 403, message: "forbidden" })

function noRoute(routes: readonly string[], path: string): StatusError {
  if (!routes.some((route) => route.endsWith(` ${path}`))) return genericFailure(404)
  return new StatusError({ code: 405, reason: "MethodNotAllowed", message: "method not allowed" })
}

async function readJson(call: SupervisorCall): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse((await call.body()).toString() || "{}")
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  throw badRequest("the body must be a JSON object")
}

/** `stage` wins over `enable`; a body with neither asks for nothing. Throws 400. */
function readVerb(body: Record<string, unknown>): Request | undefined {
  const { stage, enable } = body
  const flags = {
    force: body.force === true,
    skip: body.skip === true,
    vacuum: body.vacuum === true,
  }
  if (typeof stage === "string" && stage !== "") {
    if (!Object.hasOwn(K3S_STAGES, stage))
      throw badRequest(
        `unknown stage "${stage}", expected one of ${Object.keys(K3S_STAGES).join(", ")}`,
      )
    return { verb: K3S_STAGES[stage as keyof typeof K3S_STAGES], ...flags }
  }
  if (typeof enable !== "boolean") return undefined
  return { verb: enable ? "enable" : "disable", ...flags }
}

const LOOK_MS = 100

/** Resolves when the operation has done all. Throws RotationUnderWay, RotationAborted, KeyStillNeeded; what the signal says of a
 *  client that has gone. */
async function ended(
  supervisor: Supervisor,
  started: Operation,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const now = await supervisor.operation()
    const operation = await seenAgain(started, now, () => supervisor.history())
    if (operation.state === "finished") {
      const left = leftBehind(operation)
      if (left !== null) throw new KnownError("KeyStillNeeded", left)
      return
    }
    await sleep(LOOK_MS, undefined, { signal }).catch(() => {
      if (signal.reason instanceof StatusError) throw signal.reason
      throw serviceUnavailable("the server is ending; the rotation goes on at its next start")
    })
  }
}
