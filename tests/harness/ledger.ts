/** What each Secret may hold, after writes of which some were refused and some left open whether they happened. */

/** Holds nothing: not there. */
export const ABSENT = ""

/** `refused`: it has not happened and never will. `open`: it may have happened, or may yet. */
export type WriteOutcome = "done" | "refused" | "open"

export class Ledger {
  readonly #possible = new Map<string, ReadonlySet<string>>()

  /** More than one: nobody can tell. */
  possible(name: string): ReadonlySet<string> {
    return this.#possible.get(name) ?? new Set([ABSENT])
  }

  isSure(name: string): boolean {
    return this.possible(name).size === 1
  }

  isAbsent(name: string): boolean {
    return this.isSure(name) && this.possible(name).has(ABSENT)
  }

  names(): string[] {
    return [...this.#possible.keys()]
  }

  /** A write of `value` begins; what is returned takes how it ended. One name has one writer at a time. */
  begin(name: string, value: string): (outcome: WriteOutcome) => void {
    const before = this.possible(name)
    this.#possible.set(name, new Set([...before, value]))
    return (outcome) => {
      if (outcome === "done") this.#possible.set(name, new Set([value]))
      if (outcome === "refused") this.#possible.set(name, before)
    }
  }
}
