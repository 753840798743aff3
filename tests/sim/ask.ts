/** How a server asks a datastore in memory. What the datastore does is a generator: at each `yield` others may come between,
 *  and a function yielded there says when it can go on. Ended early by `return()`, it has rolled back. */

export type Steps<T> = Generator<(() => boolean) | undefined, T>

/** One connection. `what` is for people, and the same for the same seed: no key, fence or nonce in it. Rejects with NotDone or
 *  AnswerLost where the way to the datastore is the trouble. */
export type Ask = <T>(what: string, steps: Steps<T>) => Promise<T>

// oxlint-disable-next-line require-yield -- nothing comes between
export function* atOnce<T>(act: () => T): Steps<T> {
  return act()
}

/** A connection without any trouble, in real time: every step in a turn of its own. */
export async function askAtOnce<T>(_what: string, steps: Steps<T>): Promise<T> {
  let canGoOn: (() => boolean) | undefined
  for (;;) {
    await new Promise(setImmediate)
    if (canGoOn?.() === false) continue
    const step = steps.next()
    if (step.done === true) return step.value
    canGoOn = step.value
  }
}
