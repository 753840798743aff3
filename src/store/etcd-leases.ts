/** Leases for entries with a time to live. As in kube-apiserver, entries of one time to live that are written soon
 *  after each other share a lease: a lease a write would be one more write each. */
import { randomBytes } from "node:crypto"

const SHARED_PART = 0.05
const SHARED_SECONDS_MAX = 60
const ENTRIES_MAX = 1_000

interface Lease {
  readonly id: Promise<number>
  entries: number
}

export class Leases {
  readonly #grant: (lease: { id: number; ttlSeconds: number }) => Promise<unknown>
  readonly #shared = new Map<number, Lease>()
  readonly #timers = new Set<NodeJS.Timeout>()

  constructor(grant: (lease: { id: number; ttlSeconds: number }) => Promise<unknown>) {
    this.#grant = grant
  }

  /** A lease that lives for `ttlSeconds` at least; 0 is none. */
  async for(ttlSeconds: number): Promise<number> {
    if (ttlSeconds === 0) return 0
    const known = this.#shared.get(ttlSeconds)
    const lease = known !== undefined && known.entries < ENTRIES_MAX ? known : this.#new(ttlSeconds)
    lease.entries += 1
    return await lease.id
  }

  /** The lease is gone before its time. */
  forget(ttlSeconds: number): void {
    this.#shared.delete(ttlSeconds)
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer)
  }

  #new(ttlSeconds: number): Lease {
    const sharedSeconds = Math.min(ttlSeconds * SHARED_PART, SHARED_SECONDS_MAX)
    // Below 2^48, for etcd's own do not fit into a number.
    const id = randomBytes(6).readUIntBE(0, 6)
    const granted = this.#grant({ id, ttlSeconds: Math.ceil(ttlSeconds + sharedSeconds) })
    const lease = { id: granted.then(() => id), entries: 0 }
    const forget = (): void => {
      if (this.#shared.get(ttlSeconds) === lease) this.forget(ttlSeconds)
      this.#timers.delete(timer)
    }
    const timer = setTimeout(forget, sharedSeconds * 1000).unref()
    this.#timers.add(timer)
    lease.id.catch(forget)
    this.#shared.set(ttlSeconds, lease)
    return lease
  }
}
