/** What a server does besides answering: loops that run until it ends, and are waited for. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Logger } from "pino"

/** A clock may jump past the end of a certificate. */
export const CERTIFICATES_EVERY_MS = 60 * 60_000

const ANEW_MS = 1_000

/** False at the signal. Keeps no process alive. */
const pause = (ms: number, signal: AbortSignal): Promise<boolean> =>
  sleep(ms, true, { signal, ref: false }).catch(() => false)

export class Background {
  readonly #log: Logger
  readonly #stop = new AbortController()
  readonly #running: Promise<void>[] = []

  constructor(log: Logger) {
    this.#log = log
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** A loop that fails is told, and begun anew. */
  run(what: string, loop: (signal: AbortSignal) => Promise<void>): void {
    this.#running.push(this.#looped(what, loop))
  }

  /** A failed round is told; the next one comes all the same. */
  every(what: string, ms: number, round: () => Promise<void>): void {
    this.run(what, async (signal) => {
      while (await pause(ms, signal)) await this.#told(what, round)
    })
  }

  /** As {@link every}; the first one comes at once. */
  fromNowOn(what: string, ms: number, round: () => Promise<void>): void {
    this.run(what, async (signal) => {
      do await this.#told(what, round)
      while (await pause(ms, signal))
    })
  }

  /** As {@link every}, for rounds that follow each other closely: a row of failures is told when it begins and when it ends. */
  often(what: string, ms: number, round: () => Promise<void>): void {
    let hasFailed = false
    this.every(what, ms, async () => {
      try {
        await round()
        if (hasFailed) this.#log.info(`${what} goes on`)
        hasFailed = false
      } catch (err) {
        if (!hasFailed) this.#log.warn({ err }, `${what} failed; tried again until it succeeds`)
        hasFailed = true
      }
    })
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#running)
  }

  async #looped(what: string, loop: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this
    do {
      try {
        return await loop(signal)
      } catch (err) {
        if (!signal.aborted) this.#log.error({ err }, `${what} ended; it begins anew`)
      }
    } while (await pause(ANEW_MS, signal))
  }

  #told(what: string, round: () => Promise<void>): Promise<void> {
    return round().catch((err) => this.#log.warn({ err }, `${what} failed; tried again later`))
  }
}
