/** Counts what is sealed under keys that wear out by it. A seal is counted before it is made, in blocks of a thousand that
 *  each server reserves in the datastore, the next before the present one is used up: a server that ends has counted
 *  too many, never too few, and a write waits only for the first block of a key. */
import { randomUUID } from "node:crypto"
import { isKnown, KnownError } from "../errors.ts"
import {
  decodeUsage,
  encodeUsage,
  larger,
  type Seals,
  type Usage,
  withSeals,
} from "../rotation/usage.ts"
import { step } from "../step.ts"
import type { Store } from "../store/store.ts"

export const BLOCK = 1_000

/** Other servers reserve too; one that loses this often meets something else. */
const ATTEMPTS_MAX = 100

export class Writes {
  readonly #store: Store
  /** Seals of clients that are reserved and not made, by key. */
  readonly #left = new Map<string, number>()
  readonly #reserving = new Map<string, Promise<void>>()
  #known: Usage = new Map()

  constructor(store: Store) {
    this.#store = store
  }

  /** Of all servers, as this one learned it last. */
  get known(): Usage {
    return this.#known
  }

  async read(): Promise<Usage> {
    await this.#read()
    return this.#known
  }

  /** Takes one seal for a client. False: {@link reserve}, then ask again. */
  take(key: string): boolean {
    const left = this.#left.get(key) ?? 0
    if (left === 0) return false
    this.#left.set(key, left - 1)
    // Where it fails, the write that finds nothing left tells.
    if (left <= BLOCK / 2) void this.reserve(key).catch(() => {})
    return true
  }

  /** The next block for clients; those who ask meanwhile get the same. Throws what the store throws. */
  reserve(key: string): Promise<void> {
    const under = this.#reserving.get(key)
    if (under !== undefined) return under
    const reserving = this.#reserveBlock(key).finally(() => this.#reserving.delete(key))
    this.#reserving.set(key, reserving)
    return reserving
  }

  /** Counts seals that the caller is about to make. */
  async add(key: string, seals: Partial<Seals>): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const version = await this.#read()
      const usage = withSeals(this.#known, key, seals)
      if (!(await this.#put(usage, version))) continue
      this.#known = larger(this.#known, usage)
      return
    }
    throw new KnownError(
      "StoreUnavailable",
      "the count of writes changes faster than it can be read",
    )
  }

  async #reserveBlock(key: string): Promise<void> {
    await this.add(key, { clients: BLOCK })
    this.#left.set(key, (this.#left.get(key) ?? 0) + BLOCK)
  }

  /** Returns the record's version. */
  async #read(): Promise<string | null> {
    const stored = await this.#store.record("usage")
    if (stored !== undefined) this.#known = larger(this.#known, decodeUsage(stored.value))
    return stored?.version ?? null
  }

  /** False where nobody knows that it is put: then it is counted again. */
  async #put(usage: Usage, version: string | null): Promise<boolean> {
    try {
      const value = encodeUsage(usage, randomUUID())
      const { outcome } = await step("count-writes", () =>
        this.#store.step({
          compare: [{ name: "usage", version }],
          put: [{ name: "usage", value }],
        }),
      )
      return outcome === "done"
    } catch (error) {
      if (isKnown(error, "OutcomeUnknown")) return false
      throw error
    }
  }
}
