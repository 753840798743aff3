/** Those who wait for something to change, without being told what. */
export class Wakers {
  readonly #wakers = new Set<() => void>()
  #closed = false

  wake(): void {
    for (const wake of this.#wakers) wake()
  }

  /** Ends all waits. */
  close(): void {
    this.#closed = true
    this.wake()
  }

  /** Yields after each {@link wake}, once for several that came meanwhile; ends with the signal. */
  async *wakes(signal: AbortSignal): AsyncGenerator<void, void> {
    let changed = Promise.withResolvers<void>()
    const wake = (): void => changed.resolve()
    // Of one that is left behind a yield nothing stays either.
    const end = (): void => {
      this.#wakers.delete(wake)
      wake()
    }
    this.#wakers.add(wake)
    signal.addEventListener("abort", end, { once: true })
    try {
      while (!signal.aborted && !this.#closed) {
        await changed.promise
        changed = Promise.withResolvers<void>()
        if (!signal.aborted && !this.#closed) yield
      }
    } finally {
      end()
      signal.removeEventListener("abort", end)
    }
  }
}
