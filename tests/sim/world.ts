/** What may happen next in a simulation, and the choice of it: a step of the datastore, an answer that arrives, a timer that rings.
 *  All choices come from one sequence of numbers, so the same seed makes the same history. */
import { AnswerLost, NotDone } from "../../src/store/lost-answer.ts"
import type { Ask, Steps } from "./ask.ts"
import { inside, settled, type AlarmClock } from "./virtual-timers.ts"

/** One life of a server: after its death nothing of it goes on. */
export class Life implements AlarmClock {
  readonly server: string
  readonly #world: World
  isOver = false
  /** Stopped as by SIGSTOP: no answer is taken in, no timer rings. */
  isPaused = false
  /** No way to the datastore. */
  isCut = false

  constructor(server: string, world: World) {
    this.server = server
    this.#world = world
  }

  get isAwake(): boolean {
    return !this.isOver && !this.isPaused
  }

  set(delayMs: number, ring: () => void): () => void {
    return this.#world.setTimer(this, delayMs, () => inside(this, ring))
  }

  /** Runs `act` as this life's own work. */
  run(act: () => void): void {
    inside(this, act)
  }

  readonly ask: Ask = (what, steps) => this.#world.ask(this, what, steps)
}

interface Call {
  readonly life: Life
  readonly what: string
  readonly steps: Steps<unknown>
  canGoOn: (() => boolean) | undefined
  hasBegun: boolean
  /** undefined: nobody waits for the answer any more. */
  answer: ((outcome: Outcome) => void) | undefined
}

type Outcome = { readonly value: unknown } | { readonly error: unknown }

interface Arrival {
  readonly life: Life
  readonly what: string
  readonly arrive: () => void
}

interface Timer {
  readonly life: Life | undefined
  readonly atMs: number
  readonly ring: () => void
}

/** How often, of all calls, one goes wrong. */
export interface Troubles {
  readonly lostRequest: number
  readonly lostAnswer: number
  /** The answer is lost, and the datastore does it later. */
  readonly late: number
  /** It is done later, and its answer comes. */
  readonly slow: number
  /** So it is where `meet` has something to come between. */
  readonly met: number
  readonly rolledBack: number
}

export interface WorldOptions {
  readonly random: () => number
  readonly note: (what: string) => void
  /** Lets something else come while a call is on its way; false where there is nothing to come. */
  readonly meet: (what: string) => boolean
}

/** Where something can be done at once, time passes all the same now and then. */
const TIMER_FIRST = 0.15
const LATE_MS_MAX = 20_000

export class World {
  readonly random: () => number
  readonly note: (what: string) => void
  readonly #meet: WorldOptions["meet"]
  troubles: Troubles = { lostRequest: 0, lostAnswer: 0, late: 0, slow: 0, met: 0, rolledBack: 0 }
  nowMs = 0
  #calls: Call[] = []
  #arrivals: Arrival[] = []
  #timers: Timer[] = []

  constructor({ random, note, meet }: WorldOptions) {
    this.random = random
    this.note = note
    this.#meet = meet
  }

  /** A whole number below `end`. */
  below(end: number): number {
    return Math.floor(this.random() * end)
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)]
  }

  happens(chance: number): boolean {
    return this.random() < chance
  }

  /** One thing happens, and all that follows from it without waiting. False where nothing can. */
  async turn(): Promise<boolean> {
    const calls = this.#calls.filter(({ canGoOn }) => canGoOn?.() !== false)
    const arrivals = this.#arrivals.filter(({ life }) => life.isAwake)
    const choice = this.below(calls.length + arrivals.length)
    const [call, arrival] = [calls[choice], arrivals[choice - calls.length]]
    if ((call ?? arrival) === undefined || this.happens(TIMER_FIRST)) {
      if (!this.#ring() && (call ?? arrival) === undefined) return false
    } else if (call !== undefined) this.#advance(call)
    else if (arrival !== undefined) this.#arrive(arrival)
    await settled()
    return true
  }

  /** `life` undefined: the simulation's own. */
  setTimer(life: Life | undefined, delayMs: number, ring: () => void): () => void {
    const timer = { life, atMs: this.nowMs + Math.max(0, delayMs), ring }
    const at = this.#timers.findLastIndex(({ atMs }) => atMs <= timer.atMs) + 1
    this.#timers.splice(at, 0, timer)
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer)
    }
  }

  ask<T>(life: Life, what: string, steps: Steps<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const answer = (outcome: Outcome) =>
        "error" in outcome ? reject(outcome.error) : resolve(outcome.value as T)
      const call = { life, what, steps, canGoOn: undefined, hasBegun: false, answer }
      if (life.isCut) this.#send(call, { error: new NotDone("there is no way to the datastore") })
      else this.#calls.push(call)
    })
  }

  /** A server dies; what it asked for may be done all the same. */
  end(life: Life): void {
    life.isOver = true
    this.#timers = this.#timers.filter((timer) => timer.life !== life)
    this.#arrivals = this.#arrivals.filter((arrival) => arrival.life !== life)
    this.#loseCallsOf(life)
  }

  cut(life: Life): void {
    life.isCut = true
    this.#loseCallsOf(life)
  }

  /** Every connection ends, and nothing that was in flight is committed. `forgetsAll`: what is on its way is not done either. */
  restartDatastore({ forgetsAll = false } = {}): void {
    for (const call of this.#calls) {
      if (forgetsAll || call.hasBegun || this.happens(0.5)) this.#drop(call)
      this.#lose(call)
    }
  }

  #loseCallsOf(life: Life): void {
    for (const call of this.#calls.filter((one) => one.life === life)) {
      if (this.happens(0.5)) this.#drop(call)
      this.#lose(call)
    }
  }

  /** It is never done, or rolled back. */
  #drop(call: Call): void {
    call.steps.return(undefined)
    this.#calls = this.#calls.filter((one) => one !== call)
  }

  #lose(call: Call): void {
    this.#send(call, { error: new AnswerLost("the connection ended") })
    call.answer = undefined
  }

  #send({ life, what, answer }: Call, outcome: Outcome): void {
    if (answer === undefined || life.isOver) return
    const arrive = () => answer(outcome)
    this.#arrivals.push({ life, what: `${what}: ${saidOf(outcome)}`, arrive })
  }

  #advance(call: Call): void {
    if (!call.hasBegun && this.#meetsTrouble(call)) return
    if (call.hasBegun && this.happens(this.troubles.rolledBack)) {
      this.note(`${call.life.server} ${call.what}: rolled back`)
      this.#drop(call)
      return this.#send(call, { error: new NotDone("rolled back") })
    }
    call.hasBegun = true
    const outcome = this.#stepped(call)
    this.note(`${call.life.server} ${call.what}${outcome === undefined ? ": begun" : ""}`)
    if (outcome === undefined) return
    this.#drop(call)
    if (this.happens(this.troubles.lostAnswer)) return this.#lose(call)
    this.#send(call, outcome)
  }

  #meetsTrouble(call: Call): boolean {
    if (this.happens(this.troubles.lostRequest)) {
      this.note(`${call.life.server} ${call.what}: lost`)
      this.#drop(call)
      this.#lose(call)
      return true
    }
    if (call.canGoOn !== undefined) return false
    const isLate = this.happens(this.troubles.late)
    const isSlow = () => this.happens(this.troubles.slow)
    const isMet = () => this.happens(this.troubles.met) && this.#meet(call.what)
    if (!isLate && !isMet() && !isSlow()) return false
    this.note(`${call.life.server} ${call.what}: on its way for long`)
    if (isLate) this.#lose(call)
    let hasArrived = false
    call.canGoOn = () => hasArrived
    this.setTimer(undefined, this.below(LATE_MS_MAX), () => (hasArrived = true))
    return true
  }

  #stepped(call: Call): Outcome | undefined {
    try {
      const step = call.steps.next()
      if (step.done === true) return { value: step.value }
      call.canGoOn = step.value
      return undefined
    } catch (error) {
      return { error }
    }
  }

  #arrive(arrival: Arrival): void {
    this.#arrivals = this.#arrivals.filter((one) => one !== arrival)
    this.note(`${arrival.life.server} hears of ${arrival.what}`)
    arrival.arrive()
  }

  #ring(): boolean {
    const timer = this.#timers.find(({ life }) => life === undefined || life.isAwake)
    if (timer === undefined) return false
    this.#timers = this.#timers.filter((one) => one !== timer)
    this.nowMs = Math.max(this.nowMs, timer.atMs)
    timer.ring()
    return true
  }
}

const saidOf = (outcome: Outcome): string =>
  "error" in outcome ? String(outcome.error) : "answered"
