/** A server's Lease: how the others know that it is there, and what it has loaded. An object as kube-apiserver's identity leases
 *  are; its revision is the counter, its times are for people. */
import { randomUUID } from "node:crypto"
import { isKnown } from "../errors.ts"
import type { KubeObject, ObjectMeta } from "../format/object.ts"
import { toTime } from "../format/time.ts"
import type { Registry, Stored } from "../registry/registry.ts"
import type { Kind } from "../registry/resource.ts"
import { LEASE_MS } from "../rotation/lease.ts"
import { step } from "../step.ts"
import { writeOwn } from "./own-object.ts"

const NAMESPACE = "kube-system"
const PREFIX = "keyturn-"
/** Of all the leases only the servers'; under it they have their Nodes' names. */
const LEASES: Kind = { storagePrefix: `/registry/leases/${NAMESPACE}/${PREFIX}` }

const EPOCH_ANNOTATION = "keyturn.io/keyring-epoch"
const BEAT_ANNOTATION = "keyturn.io/beat"
const FLAG_ANNOTATIONS = "flag.keyturn.io/"

/** What a server tells of itself. */
export interface Told {
  /** Of the keyring that it has loaded. */
  readonly epoch: number | undefined
  /** By name: the flags that must agree on all servers. */
  readonly flags: Readonly<Record<string, string>>
}

export interface ServerLease extends Told {
  /** Its server's. */
  readonly name: string
  /** New at each renewal; compare for equality only. */
  readonly counter: string
  readonly stored: Stored
}

interface Lease extends KubeObject {
  spec?: {
    holderIdentity?: string
    leaseDurationSeconds?: number
    acquireTime?: string
    renewTime?: string
    leaseTransitions?: number
  }
}

export interface Renewal extends Told {
  /** The server's. */
  readonly name: string
  /** Of one process. */
  readonly identity: string
  /** Another at each renewal, so that none is the same object, which would not be written: a wall clock may stand still. */
  readonly beat: number
  readonly now: Date
}

/** Returns the identity that held the lease before. */
export async function renewLease(
  registry: Registry,
  renewal: Renewal,
): Promise<string | undefined> {
  const make = (before: Lease | undefined) => leaseAs(before, renewal)
  const ref = { name: renewal.name }
  const before: Lease | undefined = await step("server-lease", () =>
    writeOwn(registry, { kind: LEASES, ref, make }),
  )
  return before?.spec?.holderIdentity
}

function leaseAs(before: Lease | undefined, renewal: Renewal): Lease {
  const { name, identity, beat, epoch, flags } = renewal
  const now = renewal.now.toISOString()
  const metadata: ObjectMeta = before?.metadata ?? {
    name: PREFIX + name,
    namespace: NAMESPACE,
    uid: randomUUID(),
    creationTimestamp: toTime(renewal.now),
  }
  const { holderIdentity, acquireTime = now, leaseTransitions = 0 } = before?.spec ?? {}
  const isOwn = holderIdentity === undefined || holderIdentity === identity
  const told = Object.entries(flags).map(([flag, text]) => [FLAG_ANNOTATIONS + flag, text] as const)
  return {
    kind: "Lease",
    apiVersion: "coordination.k8s.io/v1",
    metadata: {
      ...metadata,
      annotations: {
        [BEAT_ANNOTATION]: String(beat),
        [EPOCH_ANNOTATION]: String(epoch),
        ...Object.fromEntries(told),
      },
    },
    spec: {
      holderIdentity: identity,
      leaseDurationSeconds: LEASE_MS / 1000,
      acquireTime: isOwn ? acquireTime : now,
      renewTime: now,
      leaseTransitions: isOwn ? leaseTransitions : leaseTransitions + 1,
    },
  }
}

export async function serverLeases(registry: Registry): Promise<ServerLease[]> {
  const { items } = await registry.list(LEASES, { leavesOut: true })
  return items.map((stored) => {
    const annotations = Object.entries(stored.object.metadata.annotations ?? {})
    const flags = annotations
      .filter(([name]) => name.startsWith(FLAG_ANNOTATIONS))
      .map(([name, text]) => [name.slice(FLAG_ANNOTATIONS.length), text] as const)
    const epoch = Number(stored.object.metadata.annotations?.[EPOCH_ANNOTATION])
    return {
      name: stored.key.slice(LEASES.storagePrefix.length),
      counter: String(stored.revision),
      epoch: Number.isSafeInteger(epoch) ? epoch : undefined,
      flags: Object.fromEntries(flags),
      stored,
    }
  })
}

/** Nothing is done where its server renewed it meanwhile. */
export async function removeLease(registry: Registry, { stored }: ServerLease): Promise<void> {
  try {
    await registry.remove(stored)
  } catch (error) {
    if (!isKnown(error, "Conflict")) throw error
  }
}
