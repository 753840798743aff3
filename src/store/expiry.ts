/** Entries with a time to live. As in kine, the clock starts anew when the process does, and the end is a delete that
 *  compares the revision: an entry that changed meanwhile stays. */

/** Calls `run` once after `delayMs`; the function returned cancels it. */
export type Schedule = (run: () => void, delayMs: number) => () => void

export const systemSchedule: Schedule = (run, delayMs) => {
  const timer = setTimeout(run, delayMs).unref()
  return () => clearTimeout(timer)
}

/** setTimeout's own limit: 2^31 - 1 ms. */
const DELAY_MS_MAX = 2_147_483_647

interface Life {
  readonly key: string
  readonly revision: number
  readonly ttlSeconds: number
}

/** After a removal that failed. */
const RETRY_SECONDS = 10

export interface ExpiryOptions {
  readonly schedule: Schedule
  readonly remove: (key: string, revision: number) => Promise<unknown>
  readonly warn: (sentence: string, error: unknown) => void
}

export class Expiry {
  readonly #options: ExpiryOptions
  readonly #clocks = new Map<string, { readonly revision: number; readonly stop: () => void }>()
  #closed = false

  constructor(options: ExpiryOptions) {
    this.#options = options
  }

  /** The life of one revision of an entry; 0 seconds: for ever. An older revision than the known one is passed over. */
  track({ key, revision, ttlSeconds }: Life): void {
    if (this.#closed || revision < (this.#clocks.get(key)?.revision ?? 0)) return
    this.forget(key)
    if (ttlSeconds > 0) this.#start({ key, revision, leftMs: ttlSeconds * 1000 })
  }

  forget(key: string): void {
    this.#clocks.get(key)?.stop()
    this.#clocks.delete(key)
  }

  /** Forgets all. */
  clear(): void {
    for (const { stop } of this.#clocks.values()) stop()
    this.#clocks.clear()
  }

  /** Tracks nothing any more. */
  close(): void {
    this.#closed = true
    this.clear()
  }

  #start({ key, revision, leftMs }: { key: string; revision: number; leftMs: number }): void {
    const delayMs = Math.min(leftMs, DELAY_MS_MAX)
    const stop = this.#options.schedule(() => {
      this.#clocks.delete(key)
      if (leftMs > delayMs) this.#start({ key, revision, leftMs: leftMs - delayMs })
      else void this.#remove(key, revision)
    }, delayMs)
    this.#clocks.set(key, { revision, stop })
  }

  async #remove(key: string, revision: number): Promise<void> {
    const { remove, warn } = this.#options
    try {
      await remove(key, revision)
    } catch (error) {
      if (this.#closed) return
      warn(`${key} could not be removed at the end of its life`, error)
      this.track({ key, revision, ttlSeconds: RETRY_SECONDS })
    }
  }
}
