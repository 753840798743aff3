/** The servers, as one of them knows them: it tells the others that it is there, and sees of them who is. What it saw it timed by
 *  its own clock. */
import { randomUUID } from "node:crypto"
import { removeLease, renewLease, type ServerLease, serverLeases } from "../cluster/server-lease.ts"
import { markUnknown, ownNode, type ServerNode, serverNodes } from "../cluster/node.ts"
import type { Keys } from "../registry/keys.ts"
import type { Registry } from "../registry/registry.ts"
import { isGone, look, type Sighting } from "../rotation/lease.ts"
import type { ServerStatus } from "./status.ts"

export interface ServersOptions {
  readonly registry: Registry
  readonly keys: Keys
  /** This server's name. */
  readonly name: string
  /** Whether no other can work on its datastore: then it tells nobody that it is there. */
  readonly isAlone: boolean
  /** Whether the server is to leave when its Node is deleted: then none is made anew. */
  readonly leavesWithNode: boolean
  /** By name: its flags that must agree with those of the others. */
  readonly flags: Readonly<Record<string, string>>
  /** Makes its Node say what it is to say. */
  readonly publish: () => Promise<void>
  readonly now: () => Date
  readonly monotonicMs: () => number
  readonly warn: (sentence: string) => void
}

interface Observed {
  readonly nodes: readonly ServerNode[]
  readonly leases: readonly ServerLease[]
}

export class Servers {
  readonly #options: ServersOptions
  readonly #identity = randomUUID()
  #beats = 0
  #isNamesakeTold = false
  #sightings: ReadonlyMap<string, Sighting> = new Map()

  constructor(options: ServersOptions) {
    this.#options = options
  }

  /** Renews the lease. To be done before the Node is published, lest another server goes by the lease as it was. */
  async renew(): Promise<void> {
    const { registry, keys, name, isAlone, flags, now, warn } = this.#options
    if (isAlone) return
    const { epoch } = keys.view.record
    const own = { name, identity: this.#identity, beat: this.#beats, epoch, flags, now: now() }
    const before = await renewLease(registry, own)
    this.#beats += 1
    if (this.#beats === 1 || before === undefined || before === own.identity) return
    if (!this.#isNamesakeTold)
      warn(`another server is named ${name} too: give each its own --node-name`)
    this.#isNamesakeTold = true
  }

  /** Renews the lease, and sees to it that the own Node is there and not said to be gone. */
  async beat(): Promise<void> {
    const { registry, name, leavesWithNode, publish } = this.#options
    await this.renew()
    const stands = await ownNode(registry, name)
    if (stands === "gone" || (stands === "deleted" && !leavesWithNode)) await publish()
  }

  /** Looks at the others' leases. The Node of one that has gone says so from then on; a lease without Node goes with its server. */
  async attend(): Promise<void> {
    const { registry, name: self, now, warn } = this.#options
    const { nodes, leases } = await this.#observe()
    const hasGone = (name: string) => {
      const sighting = this.#sightings.get(name)
      return name !== self && sighting !== undefined && isGone(sighting)
    }
    for (const node of nodes)
      if (node.isOwnWord && hasGone(node.name) && (await markUnknown(registry, node, now())))
        warn(`nothing is heard of the server ${node.name}`)
    for (const lease of leases)
      if (hasGone(lease.name) && nodes.every(({ name }) => name !== lease.name))
        await removeLease(registry, lease)
  }

  /** All servers by name, this one among them. */
  async status(): Promise<ServerStatus[]> {
    const { nodes, leases } = await this.#observe()
    const names = new Set([...nodes, ...leases].map(({ name }) => name))
    return [...names].toSorted().map((name) => {
      const node = nodes.find((each) => each.name === name)
      const lease = leases.find((each) => each.name === name)
      return this.#statusOf(name, node, lease)
    })
  }

  #statusOf(
    name: string,
    node: ServerNode | undefined,
    lease: ServerLease | undefined,
  ): ServerStatus {
    const { name: self, keys, flags, monotonicMs } = this.#options
    const [, stage, hash] = /^(.*)-([^-]*)$/.exec(node?.hash ?? "") ?? []
    const shown = { name, ready: node?.ready ?? false, ...(stage && hash && { stage, hash }) }
    if (name === self) return { ...shown, epoch: keys.view.record.epoch, lastseenseconds: 0, flags }
    if (lease === undefined) return { ...shown, flags: {} }
    const { seenMs } = this.#sightings.get(name) ?? {}
    return {
      ...shown,
      ...(lease.epoch !== undefined && { epoch: lease.epoch }),
      ...(seenMs !== undefined && {
        lastseenseconds: Math.round((monotonicMs() - seenMs) / 100) / 10,
      }),
      flags: lease.flags,
    }
  }

  /** Nodes before leases: one that was published after its lease was renewed is then not taken for gone. */
  async #observe(): Promise<Observed> {
    const { registry, monotonicMs } = this.#options
    const nodes = await serverNodes(registry)
    const leases = await serverLeases(registry)
    const nowMs = monotonicMs()
    const counters = new Map(nodes.map(({ name }) => [name, NO_LEASE]))
    for (const { name, counter } of leases) counters.set(name, counter)
    const before = this.#sightings
    this.#sightings = new Map(
      Array.from(counters, ([name, counter]) => [name, look(before.get(name), { counter, nowMs })]),
    )
    return { nodes, leases }
  }
}

/** A Node without lease is one of a server that has ended. */
const NO_LEASE = ""
