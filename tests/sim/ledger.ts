/** What clients asked for and were told, and what the datastore was seen to commit: the model that invariants compare with.
 *  A write that nobody was told of may have happened or not. */
import type { Seen, SeenRow } from "./observer.ts"

export interface Asked {
  readonly write: number
  readonly key: string
  readonly kind: "create" | "update" | "delete"
  /** The revision that an update or a delete replaces. */
  readonly expected: number
}

/** What a key held from a moment on; null: nothing. */
interface Held {
  readonly since: number
  readonly write: number | null
}

/** What a revision made of a key; null: deleted. */
export interface Commit {
  readonly revision: number
  readonly key: string
  readonly write: number | null
  /** What it replaced. */
  readonly replaced: number | null
}

const idOf = ({ revision, key }: { revision: number; key: string }): string => `${revision} ${key}`

export class Ledger {
  /** Whether rewriting leaves the revision of a row as it is. */
  readonly #isInPlace: boolean
  readonly asked = new Map<number, Asked>()
  /** Told to have failed for good: they may not happen any more. */
  readonly refused = new Set<number>()
  /** Writes that were seen to be committed, and that may not be again. */
  #happened = new Set<number>()
  #commits = new Map<string, Commit>()
  #live = new Map<string, Commit>()
  readonly #history = new Map<string, Held[]>()
  #moment = 0
  /** How often the datastore was put back to an earlier state. */
  restores = 0

  constructor(of: { readonly isInPlace: boolean }) {
    this.#isInPlace = of.isInPlace
  }

  /** Grows with everything that is learned. */
  get moment(): number {
    return this.#moment
  }

  /** A write with a number of its own. */
  ask(of: Omit<Asked, "write">): Asked {
    const asked = { write: this.asked.size + 1, ...of }
    this.asked.set(asked.write, asked)
    return asked
  }

  /** Which write a row is of that was not there before; `rewritten`: of the one that stood there already. */
  askedFor({ key, value }: SeenRow): Asked | "rewritten" | undefined {
    const live = this.#live.get(key)
    if (value === undefined)
      return [...this.asked.values()].find(
        (one) =>
          one.kind === "delete" &&
          one.key === key &&
          !this.refused.has(one.write) &&
          one.expected === live?.revision,
      )
    const isSame = live !== undefined && live.write !== null && live.write === value.write
    if (isSame && !this.#isInPlace) return "rewritten"
    const asked = this.asked.get(value.write ?? 0)
    return asked?.key === key ? asked : undefined
  }

  commit(row: { revision: number; key: string }): Commit | undefined {
    return this.#commits.get(idOf(row))
  }

  /** In the order of their revisions. */
  between({ after, upTo }: { readonly after: number; readonly upTo: number }): Commit[] {
    const commits = [...this.#commits.values()]
    return commits
      .filter(({ revision }) => revision > after && revision <= upTo)
      .toSorted((a, b) => a.revision - b.revision)
  }

  hasHappened(write: number): boolean {
    return this.#happened.has(write)
  }

  /** The newest commit of a key. */
  live(key: string): Commit | undefined {
    return this.#live.get(key)
  }

  /** The newest commit of each key. */
  commits(): Commit[] {
    return [...this.#live.values()]
  }

  /** Takes a row that was not there before, as the newest of its key. */
  take(row: SeenRow): void {
    const of = this.askedFor(row)
    if (of !== undefined && of !== "rewritten") this.#happened.add(of.write)
    const write = row.value?.write ?? null
    const replaced = this.#live.get(row.key)?.write ?? null
    const commit = { revision: row.revision, key: row.key, write, replaced }
    this.#commits.set(idOf(row), commit)
    this.#live.set(row.key, commit)
    if (of !== "rewritten") this.#hold(row.key, write)
  }

  /** Whether a reader that began at `since` may have found `write` at a key. */
  mayHaveRead(
    key: string,
    { since, write }: { readonly since: number; readonly write: number | null },
  ): boolean {
    const history = this.#history.get(key) ?? []
    const first = Math.max(
      0,
      history.findLastIndex((held) => held.since <= since),
    )
    const held = history.slice(first)
    const isBefore = history[0] === undefined || history[0].since > since
    return held.some((one) => one.write === write) || (isBefore && write === null)
  }

  /** A copy of what is committed; what is returned goes back to it. */
  snapshot(): () => void {
    const [commits, live, happened] = [
      new Map(this.#commits),
      new Map(this.#live),
      new Set(this.#happened),
    ]
    return () => {
      this.#commits = new Map(commits)
      const keys = new Set([...this.#live.keys(), ...live.keys()])
      this.#live = new Map(live)
      this.#happened = new Set(happened)
      for (const key of keys) this.#hold(key, live.get(key)?.write ?? null)
      this.restores += 1
    }
  }

  #hold(key: string, write: number | null): void {
    const history = this.#history.get(key) ?? []
    history.push({ since: ++this.#moment, write })
    this.#history.set(key, history)
  }
}

/** Rows that were not there at the last look. */
export const newRows = (before: Seen, now: Seen): SeenRow[] => {
  const known = new Set(before.rows.map(idOf))
  return now.rows.filter((row) => !known.has(idOf(row)))
}
