/** What the API's requests and the event loop say of how fast rewriting may go, and its pauses; the pace is rotation/pace.ts'. */
import { monitorEventLoopDelay, performance } from "node:perf_hooks"
import { setTimeout as sleep } from "node:timers/promises"
import type { Pacer } from "../rewriter/run.ts"
import {
  firstPace,
  type Heard,
  nextPace,
  type Pace,
  pauseMs,
  ROWS_ASKED,
  ROWS_ASKED_SQLITE,
} from "../rotation/pace.ts"

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
  readonly #inThread: boolean
  readonly #rowsAsked: number
  #pace: Pace
  #resumedAtMs = 0
  #isWorking = false
  #slowness = 1
  #askedAtMs = Number.NEGATIVE_INFINITY
  #loop = performance.eventLoopUtilization()

  /** `inThread`: a thread makes the batches, and this one only waits for them. */
  constructor(monotonicMs: () => number, inThread: boolean) {
    this.#monotonicMs = monotonicMs
    this.#inThread = inThread
    this.#rowsAsked = inThread ? ROWS_ASKED_SQLITE : ROWS_ASKED
    this.#pace = firstPace(this.#rowsAsked)
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

  begin(): void {
    this.#isWorking = true
    this.#slowness = 1
    this.#pace = firstPace(this.#rowsAsked)
    this.#delay.enable()
    this.#delay.reset()
    this.#resume()
  }

  end(): void {
    this.#isWorking = false
    this.#delay.disable()
  }

  async pause(signal: AbortSignal): Promise<void> {
    const busyMs = this.#inThread
      ? this.#monotonicMs() - this.#resumedAtMs
      : performance.eventLoopUtilization(this.#loop).active
    const heard: Heard = {
      isAsked: this.#monotonicMs() - this.#askedAtMs < ASKED_MS,
      delayMs: this.#delay.max / 1e6,
      slowness: this.#slowness,
    }
    // What this batch held up is measured in the pause, and heard after the next one.
    this.#delay.reset()
    this.#pace = nextPace(this.#pace, heard, this.#rowsAsked)
    const ms = pauseMs(this.#pace, heard, busyMs)
    if (ms >= 1) await sleep(ms, undefined, { signal })
    this.#resume()
  }

  #resume(): void {
    this.#loop = performance.eventLoopUtilization()
    this.#resumedAtMs = this.#monotonicMs()
  }
}

const mean = (before: number, now: number): number => before + SHARE * (now - before)
