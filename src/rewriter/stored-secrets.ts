/** How many live Secrets are under which key, known without reading them again: counted once, when somebody first asks, then
 *  carried on by the changes that the store tells of. Rewriting in place tells of none: while an operation runs the last numbers
 *  stay, with their revision, and at its end all is counted again. */
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown } from "../errors.ts"
import { isEncrypted } from "../format/value.ts"
import type { Keys } from "../registry/keys.ts"
import { SECRETS_PREFIX } from "../registry/resource.ts"
import type { View } from "../registry/view.ts"
import { decodeOperation, isRunning } from "../rotation/operation.ts"
import type { Change, Store } from "../store/store.ts"
import { type Census, knownKeys, liveCensus, namesOver } from "./census.ts"

const RETRY_MS = 1_000

/** Under no key of the keyring. */
export const FOREIGN: unique symbol = Symbol("foreign")
/** Plain text. */
export const PLAIN: unique symbol = Symbol("plain")

/** A key's name, for one that the keyring has. */
export type Place = string | typeof FOREIGN | typeof PLAIN

export interface SecretsStored {
  /** The numbers are those of a scan at this revision. */
  readonly revision: number
  /** One Secret counts under each key whose prefix fits. */
  readonly counts: ReadonlyMap<Place, number>
  readonly view: View
}

export class StoredSecrets {
  readonly #store: Store
  readonly #keys: Keys
  readonly #asked = Promise.withResolvers<void>()
  #known: SecretsStored | undefined

  constructor(store: Store, keys: Keys) {
    this.#store = store
    this.#keys = keys
  }

  /** Undefined until the first count has ended, which the first call begins. */
  read(): SecretsStored | undefined {
    this.#asked.resolve()
    return this.#known
  }

  /** Counts and carries on until the signal. */
  async follow(signal: AbortSignal): Promise<void> {
    const stopped = new Promise<void>((resolve) =>
      signal.addEventListener("abort", () => resolve(), { once: true }),
    )
    await Promise.race([this.#asked.promise, stopped])
    while (!signal.aborted)
      try {
        await this.#round(signal)
      } catch (error) {
        if (signal.aborted) return
        if (!isKnown(error)) throw error
        await sleep(RETRY_MS, undefined, { signal }).catch(() => {})
      }
  }

  /** From one count to the moment from which on it cannot be carried. */
  async #round(signal: AbortSignal): Promise<void> {
    using over = new Round(signal)
    const wakes = this.#store.watchRecords(over.signal)[Symbol.asyncIterator]()
    const quiet = await this.#quiet(wakes)
    if (quiet === undefined) return
    const { view } = this.#keys
    const holds = async () =>
      this.#keys.view === view && (await this.#operation()).version === quiet
    const found = await liveCensus(this.#store, view, { prefix: SECRETS_PREFIX, signal })
    const counts = countsByPlace(found)
    if (!(await holds())) return
    this.#known = { revision: found.revision, counts: new Map(counts), view }
    void endWhenOver(wakes, holds, over)
    for await (const batch of this.#store.watch({
      prefix: SECRETS_PREFIX,
      after: found.revision,
      signal: over.signal,
    })) {
      for (const change of batch) carry(counts, change, view)
      // Whatever was rewritten, the record of it was changed before; so what these changes replaced is what was counted.
      if (!(await holds())) return
      const revision = batch.at(-1)?.revision ?? found.revision
      this.#known = { revision, counts: new Map(counts), view }
    }
  }

  /** The version of the operation's record, once none runs; undefined at the end. */
  async #quiet(wakes: AsyncIterator<void>): Promise<string | null | undefined> {
    for (;;) {
      const { version, runs } = await this.#operation()
      if (!runs) return version
      if ((await wakes.next()).done === true) return undefined
    }
  }

  async #operation(): Promise<{ version: string | null; runs: boolean }> {
    const stored = await this.#store.record("operation")
    if (stored === undefined) return { version: null, runs: false }
    return { version: stored.version, runs: isRunning(decodeOperation(stored.value)) }
  }
}

/** One signal for a watch that ends with the server or before it. */
class Round implements Disposable {
  readonly #stop = new AbortController()
  readonly signal: AbortSignal

  constructor(signal: AbortSignal) {
    this.signal = AbortSignal.any([signal, this.#stop.signal])
  }

  [Symbol.dispose](): void {
    this.#stop.abort()
  }
}

async function endWhenOver(
  wakes: AsyncIterator<void>,
  holds: () => Promise<boolean>,
  over: Round,
): Promise<void> {
  try {
    while ((await wakes.next()).done !== true && (await holds()));
  } catch {
    // The watch meets the same and tells it.
  }
  over[Symbol.dispose]()
}

const countsByPlace = ({ keys, foreign, unencrypted }: Census): Map<Place, number> =>
  new Map<Place, number>([
    ...Array.from(keys, ([name, { stored }]) => [name, stored] as const),
    [FOREIGN, foreign.values().reduce((sum, { stored }) => sum + stored, 0)],
    [PLAIN, unencrypted.stored],
  ])

function carry(counts: Map<Place, number>, { type, value, previous }: Change, view: View): void {
  const add = (stored: Buffer | undefined, by: number) => {
    for (const name of stored === undefined ? [] : placesOf(stored, view))
      counts.set(name, (counts.get(name) ?? 0) + by)
  }
  if (type !== "create") add(previous, -1)
  if (type !== "delete") add(value, 1)
}

function placesOf(stored: Buffer, view: View): Place[] {
  if (!isEncrypted(stored)) return [PLAIN]
  const names = namesOver(knownKeys(view), stored)
  return names.length === 0 ? [FOREIGN] : names
}
