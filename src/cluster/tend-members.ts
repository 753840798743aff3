/** What every server on the embedded etcd does for the cluster, on and on: a learner that is in step gets its voice, and a server
 *  whose Node is deleted loses its place. All servers do it; who comes second finds it done. */
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown, KnownError } from "../errors.ts"
import { NODES_PREFIX } from "../registry/resource.ts"
import type { Member, Members } from "../store/etcd-members.ts"
import type { Change, Store } from "../store/store.ts"
import { nodeOfMember } from "./etcd-member.ts"
import type { EtcdLog } from "./etcd-process.ts"

export interface TendParts {
  readonly monotonicMs: () => number
  readonly members: Members
  readonly store: Store
  readonly log: Pick<EtcdLog, "info" | "warn">
  readonly signal: AbortSignal
}

const LOOK_MS = 1_000
const ATTEMPTS = 10
/** A server that was taken in starts its etcd within seconds. While one is awaited etcd takes no other in. */
const AWAITED_MS = 5 * 60_000

export async function promoteLearners(parts: TendParts): Promise<void> {
  const { members, log, monotonicMs, signal } = parts
  let awaited: { readonly id: Buffer; readonly sinceMs: number } | undefined
  while (!signal.aborted) {
    for (const learner of await listed(members)) {
      if (!learner.isLearner) continue
      if (awaited?.id.equals(learner.id) !== true)
        awaited = { id: learner.id, sinceMs: monotonicMs() }
      if (await promoted(members, learner))
        log.info({ member: learner.name }, "a server that joined has its voice in etcd")
      if (learner.name === "" && monotonicMs() - awaited.sinceMs > AWAITED_MS) {
        log.warn(
          { peers: learner.peerUrls },
          "a server that was taken in never came, and loses its place",
        )
        await members.remove(learner).catch(orNone(undefined))
      }
    }
    await sleep(LOOK_MS, undefined, { signal }).catch(() => {})
  }
}

/** None where etcd does not answer: the next look comes. */
const listed = (members: Members): Promise<Member[]> => members.list().catch(orNone([]))
const promoted = (members: Members, learner: Member): Promise<boolean> =>
  learner.name === "" ? Promise.resolve(false) : members.promote(learner).catch(orNone(false))

const orNone =
  <T>(nothing: T) =>
  (error: unknown): T => {
    if (isKnown(error)) return nothing
    throw error
  }

export async function removeWithNode(parts: TendParts): Promise<void> {
  const { store, log, signal } = parts
  while (!signal.aborted) {
    try {
      const after = await store.revision()
      const known = new Known(parts, await parts.members.list())
      for await (const changes of store.watch({ prefix: NODES_PREFIX, after, signal }))
        for (const change of changes) {
          const node = change.key.slice(NODES_PREFIX.length)
          if (change.type === "delete") await removeMembersOf(node, known.forget(node), parts)
          else await known.look(node, change)
        }
    } catch (error) {
      if (!isKnown(error)) throw error
      if (!signal.aborted) log.warn({ err: error }, "Nodes cannot be watched; tried again")
      await sleep(LOOK_MS, undefined, { signal }).catch(() => {})
    }
  }
}

/** The members that were seen while their server's Node was there. Of a server that came again its Node's end may be heard of only
 *  when it has a new member already, which is not meant. */
class Known {
  readonly #parts: TendParts
  #all: readonly Member[]
  #lookedMs: number

  constructor(parts: TendParts, all: readonly Member[]) {
    this.#parts = parts
    this.#all = all
    this.#lookedMs = parts.monotonicMs()
  }

  /** Most Nodes may be no servers', and are updated all the time. */
  async look(node: string, { type, key, revision }: Change): Promise<void> {
    const { members, store, monotonicMs } = this.#parts
    if (this.#all.some(isOf(node))) return
    if (type === "update" && monotonicMs() - this.#lookedMs < LOOK_MS) return
    this.#lookedMs = monotonicMs()
    // Of a Node that is another by now, or gone, today's member is not.
    if ((await store.get(key))?.revision !== revision) return
    this.#all = [...this.#all, ...(await listed(members)).filter(isOf(node))]
  }

  forget(node: string): readonly Member[] {
    const own = this.#all.filter(isOf(node))
    this.#all = this.#all.filter((member) => !own.includes(member))
    return own
  }
}

const isOf =
  (node: string) =>
  ({ name }: Member): boolean =>
    nodeOfMember(name) === node

async function removeMembersOf(
  node: string,
  own: readonly Member[],
  { members, log }: TendParts,
): Promise<void> {
  try {
    const there = await membersOf(members, node)
    const meant = there.filter(({ id }) => own.some((member) => member.id.equals(id)))
    await removeMembers(members, meant)
    if (meant.length > 0)
      log.info({ node }, "the Node was deleted, so its server's member is removed from etcd")
  } catch (error) {
    if (!isKnown(error)) throw error
    const rest = "its server's member is still in etcd; delete the Node again once it can go"
    log.warn({ err: error, node }, `the Node was deleted, but ${rest}`)
  }
}

/** Throws MembersUnready where no other has a voice. */
export async function membersOf(members: Members, node: string): Promise<Member[]> {
  const all = await members.list()
  const meant = all.filter(isOf(node))
  if (meant.length > 0 && all.every((member) => member.isLearner || meant.includes(member)))
    throw new KnownError("MembersUnready", `${node} is the last server of its cluster`)
  return meant
}

/** Throws MembersUnready where etcd goes on refusing: too few of the others are there, or were for the last 5 s. */
export async function removeMembers(members: Members, meant: readonly Member[]): Promise<void> {
  for (const member of meant) await removed(members, member, ATTEMPTS)
}

async function removed(members: Members, member: Member, attempts: number): Promise<void> {
  try {
    await members.remove(member)
  } catch (error) {
    if (!isKnown(error)) throw error
    if (attempts <= 1) throw new KnownError("MembersUnready", error.message, { cause: error })
    await sleep(LOOK_MS)
    await removed(members, member, attempts - 1)
  }
}
