/** Asking a server of a cluster to take this one in, and how that server answers. */
import { connect } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown, KnownError } from "../errors.ts"
import type { Member, Members } from "../store/etcd-members.ts"
import { type EtcdMember, nodeOfMember } from "./etcd-member.ts"
import type { EtcdLog } from "./etcd-process.ts"
import { exchange, failureOf, jsonOf } from "./http.ts"
import type { EtcdAuthorities } from "./pem.ts"
import { parseToken, passwordOf } from "./token.ts"
import { trust } from "./trust.ts"

export const JOIN_PATH = "/v1-keyturn/etcd/members"

export interface JoinRequest {
  readonly name: string
  readonly peerUrl: string
  /** Where it asked from before, and was not heard of since. */
  readonly formerPeerUrl?: string
}

export interface JoinAnswer {
  readonly authorities: EtcdAuthorities
  /** As etcd's --initial-cluster takes it. */
  readonly cluster: string
}

export interface Joining extends JoinRequest {
  readonly server: string
  readonly token: string | null
}

const TIMEOUT_MS = 20_000
const RETRY_MS = 1_000
const ATTEMPTS = 120

/** Waits for a server that is not there yet, or cannot take one in right now. The token's hash of the CA is checked before the
 *  password is sent. */
export async function askToJoin(
  { signal, log }: { readonly signal: AbortSignal; readonly log: Pick<EtcdLog, "info" | "warn"> },
  { server, token, ...request }: Joining,
): Promise<JoinAnswer> {
  if (token === null)
    throw new KnownError(
      "UsageInvalid",
      "--server needs the token of its cluster: give --token-file",
    )
  const ask = { timeoutMs: TIMEOUT_MS, signal }
  const parsed = parseToken(token)
  const auth = `server:${passwordOf(token)}`
  const url = new URL(JOIN_PATH, server)
  for (let attempt = 1; ; attempt++) {
    try {
      const { agent, warning } = await trust(new URL(server), parsed, ask)
      if (warning !== null && attempt === 1) log.warn({}, warning)
      const answer = await exchange({ ...ask, url, method: "POST", agent, auth, body: request })
      if (answer.status !== 200) throw failureOf(answer, url)
      return jsonOf(answer, url) as JoinAnswer
    } catch (error) {
      if (!mayPass(error) || attempt >= ATTEMPTS) throw error
      if (attempt % 10 === 1) log.info({}, `waiting to join: ${error.message}`)
      await sleep(RETRY_MS, undefined, { signal })
    }
  }
}

/** What was asked twice is done once: the server knows the address. */
const mayPass = (error: unknown): error is KnownError =>
  isKnown(
    error,
    "ServerUnreachable",
    "ServerStarting",
    "OutcomeUnknown",
    "StoreUnavailable",
    "MembersUnready",
  )

/** Takes a server in, as a learner; {@link promoteLearners} gives it its voice. Throws UsageInvalid, MembersUnready. */
export async function addMember(
  members: Members,
  { self, name, peerUrl, formerPeerUrl }: JoinRequest & { readonly self: EtcdMember },
): Promise<string> {
  if (isLoopback(peerUrl) && !isLoopback(self.peerUrl))
    throw new KnownError(
      "UsageInvalid",
      `${peerUrl} is no address for other machines; give --node-ip`,
    )
  if (peerUrl === self.peerUrl)
    throw new KnownError(
      "UsageInvalid",
      `${peerUrl} is the address of the server that was asked to take this one in`,
    )
  const at = ({ peerUrls }: Member) => peerUrls.includes(peerUrl)
  const before = await members.list()
  const awaited = before.find((member) => member.name === "" && !at(member))
  if (awaited !== undefined) {
    if (!awaited.peerUrls.includes(formerPeerUrl ?? ""))
      throw new KnownError(
        "MembersUnready",
        `another server is joining, at ${awaited.peerUrls.join()}; one that never comes loses its place after five minutes`,
      )
    await refusable(members.remove(awaited))
  }
  const node = nodeOfMember(name)
  const same = before.find((member) => nodeOfMember(member.name) === node && !at(member))
  if (same !== undefined)
    throw new KnownError(
      "UsageInvalid",
      `a server named ${node} is a member already, at ${same.peerUrls.join()}; where that one is gone for good, delete its Node, else give this one another --node-name`,
    )
  // Who comes again from the same address with nothing in its hands is the one that has its place, where nobody is there.
  for (const stale of before.filter((member) => at(member) && member.name !== "")) {
    if (await isListening(new URL(peerUrl)))
      throw new KnownError(
        "UsageInvalid",
        `the member ${stale.name} runs at ${peerUrl}: give this server an address of its own (--node-ip, --bind-address, --etcd-peer-port)`,
      )
    if (nodeOfMember(stale.name) !== node)
      throw new KnownError(
        "UsageInvalid",
        `${peerUrl} is the address of the member ${stale.name}, which does not answer now: give this server another; or, where that one is gone for good, delete its Node, ${nodeOfMember(stale.name)}`,
      )
    await refusable(members.remove(stale))
  }
  if (!before.some((member) => at(member) && member.name === ""))
    await refusable(members.addLearner(peerUrl))
  const now = await members.list()
  return now
    .map((member) => `${at(member) ? name : member.name}=${member.peerUrls[0] ?? ""}`)
    .join(",")
}

const CONNECT_TIMEOUT_MS = 2_000

/** Whether somebody takes connections there: the one that asks has not started its etcd yet. */
function isListening({ hostname, port }: URL): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const host = hostname.replace(/^\[|\]$/g, "")
  const socket = connect({ host, port: Number(port || 443), timeout: CONNECT_TIMEOUT_MS })
  socket.once("connect", () => resolve(true))
  for (const event of ["error", "timeout"]) socket.once(event, () => resolve(false))
  return promise.finally(() => socket.destroy())
}

const isLoopback = (url: string): boolean => /^https:\/\/(127\.|\[::1\])/.test(url)

/** etcd takes one learner at a time, and none while a member is away that it cannot do without. */
const refusable = (asked: Promise<void>): Promise<void> =>
  asked.catch((error: unknown) => {
    if (!isKnown(error)) throw error
    throw new KnownError("MembersUnready", error.message, { cause: error })
  })
