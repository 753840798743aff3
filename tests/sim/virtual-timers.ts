/** Timers that a simulation fires. Code that runs inside of an alarm clock sets its timers there, by whatever way it asks Node for
 *  them; all other code in the process has the real ones. */
import { AsyncLocalStorage } from "node:async_hooks"
import { syncBuiltinESMExports } from "node:module"
import promised from "node:timers/promises"

export interface AlarmClock {
  /** Returns what cancels it. */
  set(delayMs: number, ring: () => void): () => void
}

const clock = new AsyncLocalStorage<AlarmClock>()
const real = { setImmediate }

export const inside = <T>(alarmClock: AlarmClock, act: () => T): T => clock.run(alarmClock, act)

/** Resolves when everything that can go on without a timer has gone on. */
export const settled = (): Promise<void> => new Promise((resolve) => real.setImmediate(resolve))

/** What setTimeout and setImmediate give back. */
class Timer {
  readonly cancel: () => void
  constructor(cancel: () => void) {
    this.cancel = cancel
  }
  ref(): this {
    return this
  }
  unref(): this {
    return this
  }
}

/** To be called once, before the code that is simulated is imported. */
export function installTimers(): void {
  for (const name of ["setTimeout", "setImmediate"] as const) {
    const given = globalThis[name] as unknown as (...args: unknown[]) => unknown
    const set = (ring: (...args: unknown[]) => void, ...rest: unknown[]) => {
      const alarmClock = clock.getStore()
      if (alarmClock === undefined) return given(ring, ...rest)
      const [delayMs, ...args] = name === "setTimeout" ? rest : [0, ...rest]
      return new Timer(alarmClock.set(Number(delayMs ?? 0), () => ring(...args)))
    }
    Object.assign(globalThis, { [name]: set })
  }
  for (const name of ["clearTimeout", "clearImmediate"] as const) {
    const given = globalThis[name] as (timer: unknown) => void
    const clear = (timer: unknown) => (timer instanceof Timer ? timer.cancel() : given(timer))
    Object.assign(globalThis, { [name]: clear })
  }
  const given = { ...promised }
  promised.setTimeout = (delayMs, value, options) => {
    const alarmClock = clock.getStore()
    if (alarmClock === undefined) return given.setTimeout(delayMs, value, options)
    return slept(alarmClock, { delayMs: delayMs ?? 0, signal: options?.signal }).then(
      () => value as never,
    )
  }
  promised.setImmediate = (value, options) => {
    const alarmClock = clock.getStore()
    if (alarmClock === undefined) return given.setImmediate(value, options)
    return slept(alarmClock, { delayMs: 0, signal: options?.signal }).then(() => value as never)
  }
  syncBuiltinESMExports()
}

function slept(
  alarmClock: AlarmClock,
  { delayMs, signal }: { delayMs: number; signal: AbortSignal | undefined },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      cancel()
      reject(signal?.reason as Error)
    }
    const cancel = alarmClock.set(delayMs, () => {
      signal?.removeEventListener("abort", abort)
      resolve()
    })
    if (signal?.aborted === true) abort()
    else signal?.addEventListener("abort", abort, { once: true })
  })
}
