/** The supervisor's part in a cluster on the embedded etcd: taking a server in, and leaving. */
import type { Supervisor } from "../api/routes/supervisor.ts"
import type { EmbeddedEtcd } from "../cluster/embedded-etcd.ts"
import { addMember } from "../cluster/join.ts"
import { removeNode } from "../cluster/node.ts"
import { membersOf, removeMembers } from "../cluster/tend-members.ts"
import { isKnown, KnownError } from "../errors.ts"
import type { Registry } from "../registry/registry.ts"

export interface MembershipParts {
  readonly embedded: EmbeddedEtcd | undefined
  readonly registry: Registry
  readonly nodeName: string
}

export interface Membership extends Pick<Supervisor, "takeIn" | "leave"> {
  /** Resolves when this server has left its cluster; rejects when its etcd is over for good without that. */
  readonly over: Promise<void>
}

export function makeMembership({ embedded, registry, nodeName }: MembershipParts): Membership {
  const left = Promise.withResolvers<void>()
  let isLeaving = false
  const over = Promise.race([left.promise, embedded?.process.over ?? left.promise]).catch(
    (error: unknown) => {
      if (!isLeaving || !isKnown(error, "MemberRemoved")) throw error
    },
  )
  over.catch(() => {}) // the server waits for it once it serves
  const etcd = () => {
    if (embedded !== undefined) return embedded
    const wanted = "this server has no embedded etcd; its cluster is its datastore's"
    throw new KnownError("UsageInvalid", `${wanted}, which others join with --datastore-endpoint`)
  }
  return {
    over,
    async takeIn(request) {
      const { members, member: self, authorities } = etcd()
      return { authorities, cluster: await addMember(members, { ...request, self }) }
    },
    async leave() {
      const { members } = etcd()
      const own = await membersOf(members, nodeName)
      // First, for without its member this server writes nothing. The others may be quicker with the rest.
      await removeNode(registry, nodeName)
      isLeaving = true
      await Promise.race([removeMembers(members, own), over])
      left.resolve()
    },
  }
}
