import { bug } from "../errors.ts"
import type { Entry } from "./store.ts"

const PLACES_MAX = 64

interface Asked {
  readonly prefix: string
  readonly after: string | undefined
  readonly revision: number
}

/** How many entries follow a full page. What is live at a revision never changes, so one count serves all of its pages:
 *  remembered is where each page ended that was given out. */
export class PageCounts {
  readonly #remaining = new Map<string, number>()

  /** What is known to follow `entries`, the page that was asked for. */
  known({ prefix, after, revision }: Asked, entries: readonly Entry[]): number | undefined {
    const before = this.#remaining.get(place(revision, prefix, after))
    return before === undefined ? undefined : before - entries.length
  }

  remember({ prefix, revision }: Asked, entries: readonly Entry[], remaining: number): void {
    this.#remaining.set(place(revision, prefix, lastKey(entries)), remaining)
    const [oldest] = this.#remaining.keys()
    if (this.#remaining.size > PLACES_MAX && oldest !== undefined) this.#remaining.delete(oldest)
  }
}

const place = (...parts: readonly (string | number | undefined)[]): string => JSON.stringify(parts)

export const lastKey = (entries: readonly Entry[]): string =>
  entries.at(-1)?.key ?? bug("a full page without entries")
