/** What the API's requests and the event loop say of how fast rewriting may go, and its pauses; the pace is rotation/pace.ts'. */
import { monitorEventLoopDelay, performance } from "node:perf_hooks"
import { setTimeout as sleep } from "node:timers/promises"
import type { Pacer } from "../rewriter/run.ts"
import { FIRST_PACE, type Heard, nextPace, type Pace } from "../rotation/pace.ts"

/** So long after a request the next is expected. */
const ASKED_MS = 250
/** What a new duration counts in a running mean. */
const SHARE = 0.05

/** A request's kind: what is answered from memory is not measured by what waits for the disk. */
export interface Answered {
  readonly kind: string
  readonly ms: number
}

export class ApiPacer implements Pacer {
  readonly #monotonicMs: () => number
  readonly #delay = monitorEventLoopDelay({ resolution: 1 })
  readonly #calmMs = new Map<string, number>()
  #pace: Pace = FIRST_PACE
  #resumedAtMs = 0
  #loop = performance.eventLoopUtilization()
  #waits = false
  #isWorking = false
  #slowness = 1
  #askedAtMs = Number.NEGATIVE_INFINITY

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs
  }

  /** To be called after every answer of the API. */
  answered({ kind, ms }: Answered): void {
    this.#askedAtMs = this.#monotonicMs()
    const calmMs = this.#calmMs.get(kind)
    if (!this.#isWorking || calmMs === undefined) this.#calmMs.set(kind, mean(calmMs ?? ms, ms))
    else this.#slowness = mean(this.#slowness, ms / calmMs)
  }

  get rows(): number {
    return this.#pace.rows
  }

  begin({ waits }: { readonly waits: boolean }): Disposable {
    this.#isWorking = true
    this.#waits = waits
    this.#slowness = 1
    this.#pace = FIRST_PACE
    this.#delay.enable()
    this.#delay.reset()
    this.#resume()
    return { [Symbol.dispose]: () => this.#end() }
  }

  #end(): void {
    this.#isWorking = false
    this.#delay.disable()
  }

  async pause(signal: AbortSignal): Promise<void> {
    const heard: Heard = {
      isAsked: this.#monotonicMs() - this.#askedAtMs < ASKED_MS,
      tookMs: this.#waits
        ? this.#monotonicMs() - this.#resumedAtMs
        : performance.eventLoopUtilization(this.#loop).active,
      delayMs: this.#delay.max / 1e6,
      slowness: this.#slowness,
    }
    // What this batch held up is measured in the pause, and heard after the next one.
    this.#delay.reset()
    this.#pace = nextPace(this.#pace, heard)
    const { pauseMs } = this.#pace
    if (pauseMs >= 1) await sleep(pauseMs, undefined, { signal })
    this.#resume()
  }

  #resume(): void {
    this.#loop = performance.eventLoopUtilization()
    this.#resumedAtMs = this.#monotonicMs()
  }
}

const mean = (before: number, now: number): number => before + SHARE * (now - before)
