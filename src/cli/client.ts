/** The supervisor API of one server, as the commands use it. The user is always `server`, whatever the token says, as in K3s. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Agent } from "node:https"
import type { HistoryEntry } from "../rotation/history.ts"
import type { Verification } from "../rewriter/verify.ts"
import type { Plan } from "../rewriter/plan.ts"
import type { OperationSeen, Verb } from "../rotation/operation.ts"
import type { RecoveryKeyMade } from "../cluster/unlock.ts"
import type { KeyListed, RecoveryKeyListed } from "../server/key-list.ts"
import type { ArchivedKeyInUse, Status as EncryptionStatus } from "../server/status.ts"
import { type Exchange, exchange, failureOf, jsonOf } from "../cluster/http.ts"
import type { VerbRequest } from "./verb-commands.ts"

export interface ClientOptions {
  readonly server: URL
  readonly password: string
  readonly agent: Agent
  readonly signal: AbortSignal
}

/** A verb waits for the other writers of this second's key name, and for the files. */
export const TIMEOUT_MS = 30_000
/** How long a server that is starting is waited for. */
const STARTING_MS_MAX = 10_000
const PAUSE_MS = 500

export class Client {
  readonly #options: ClientOptions

  constructor(options: ClientOptions) {
    this.#options = options
  }

  async status(): Promise<EncryptionStatus> {
    return (await this.#ask("GET", "/v1-keyturn/encrypt/status")) as EncryptionStatus
  }

  /** It reads every stored value. */
  async archivedKeysInUse(): Promise<ArchivedKeyInUse[]> {
    const answer = await this.#askLong("GET", "/v1-keyturn/encrypt/archived-keys-in-use")
    return answer as ArchivedKeyInUse[]
  }

  /** It reads every stored value. */
  async keys(): Promise<KeyListed[]> {
    const path = "/v1-keyturn/encrypt/keys"
    return (await this.#askLong("GET", path)) as KeyListed[]
  }

  /** It reads every stored value. */
  async verify(asked: { key: string | undefined; opens: boolean }): Promise<Verification> {
    const query = new URLSearchParams({ open: String(asked.opens) })
    if (asked.key !== undefined) query.set("key", asked.key)
    const path = `/v1-keyturn/encrypt/verify?${query.toString()}`
    return (await this.#askLong("GET", path)) as Verification
  }

  async destroyKey(name: string): Promise<{ destroyed: string; outOfReach: string[] }> {
    const path = "/v1-keyturn/encrypt/keys/destroy"
    const answer = await this.#askLong("POST", path, { name, confirm: name })
    return answer as { destroyed: string; outOfReach: string[] }
  }

  /** Returns the id of the operation that the verb started, null where it started none. */
  async take(verb: VerbRequest): Promise<string | null> {
    const answer = await this.#ask("PUT", "/v1-keyturn/encrypt/config", verb)
    return (answer as { operation: string | null }).operation
  }

  /** The running operation, or the last one; null where there never was one. */
  async operation(): Promise<OperationSeen | null> {
    return (await this.#ask("GET", "/v1-keyturn/encrypt/operation")) as OperationSeen | null
  }

  /** It reads every stored value. */
  async plan(verb: Verb): Promise<Plan> {
    const path = `/v1-keyturn/encrypt/plan?verb=${verb}`
    return (await this.#askLong("GET", path)) as Plan
  }

  /** Oldest first. */
  async history(): Promise<HistoryEntry[]> {
    return (await this.#ask("GET", "/v1-keyturn/encrypt/history")) as HistoryEntry[]
  }

  /** Returns the token that holds from now on. */
  async rotateToken(newToken: string | undefined): Promise<string> {
    const body = newToken === undefined ? {} : { newToken }
    const answer = await this.#askLong("PUT", "/v1-keyturn/token", body)
    return (answer as { token: string }).token
  }

  async leave(): Promise<void> {
    await this.#ask("POST", "/v1-keyturn/leave", {})
  }

  async createRecoveryKey(): Promise<RecoveryKeyMade> {
    return (await this.#ask("POST", "/v1-keyturn/recovery-key", {})) as RecoveryKeyMade
  }

  /** Oldest first. */
  async recoveryKeys(): Promise<RecoveryKeyListed[]> {
    return (await this.#ask("GET", "/v1-keyturn/recovery-key")) as RecoveryKeyListed[]
  }

  async revokeRecoveryKey(id: string): Promise<void> {
    await this.#askLong("POST", "/v1-keyturn/recovery-key/revoke", { id })
  }

  /** Returns the path on the server's machine. A large datastore takes its time. */
  async saveSnapshot(name: string): Promise<string> {
    const answer = await this.#askLong("POST", "/v1-keyturn/snapshot", { name })
    return (answer as { path: string }).path
  }

  /** What goes through the whole datastore takes the time that it takes, as long as the server is there. */
  #askLong(method: Exchange["method"], path: string, body?: object): Promise<unknown> {
    const { server, agent } = this.#options
    const url = new URL("/livez", server)
    const isThere = (signal: AbortSignal) =>
      exchange({ url, method: "GET", agent, signal, timeoutMs: TIMEOUT_MS }).then(
        () => true,
        () => false,
      )
    return this.#ask(method, path, body, { isThere })
  }

  async #ask(
    method: Exchange["method"],
    path: string,
    body?: object,
    more: Pick<Exchange, "isThere"> = {},
  ): Promise<unknown> {
    const { server, password, agent, signal } = this.#options
    const url = new URL(path, server)
    const auth = `server:${password}`
    const timeoutMs = TIMEOUT_MS
    const asked = { url, method, agent, auth, signal, timeoutMs, ...more, ...(body && { body }) }
    for (let waitedMs = 0; ; waitedMs += PAUSE_MS) {
      const answer = await exchange(asked)
      if (answer.status === 200) return jsonOf(answer, url)
      if (!answer.comeAgain || waitedMs >= STARTING_MS_MAX) throw failureOf(answer, url)
      await sleep(PAUSE_MS, undefined, { signal })
    }
  }
}
