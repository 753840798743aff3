/** What a rewrite may seal before it counts more: at first what it needs, then as much again as it made, so that it counts
 *  neither for each batch nor far too many. */
import type { Writes } from "../registry/writes.ts"

const AHEAD_MAX = 16_000

export class Budget {
  readonly #writes: Writes
  readonly #key: string | undefined
  #left = 0
  #spent = 0

  /** `key`: undefined where its seals are not counted. */
  constructor(writes: Writes, key: string | undefined) {
    this.#writes = writes
    this.#key = key
  }

  /** Returns when so many seals are counted. */
  async take(seals: number): Promise<void> {
    if (this.#key === undefined) return
    if (this.#left < seals) {
      const rewriting = Math.max(seals - this.#left, Math.min(this.#spent, AHEAD_MAX))
      await this.#writes.add(this.#key, { rewriting })
      this.#left += rewriting
    }
    this.#left -= seals
    this.#spent += seals
  }
}
