/** The rows of kine's table on a database server: read in batches, and rewritten in place. */
import { setTimeout as sleep } from "node:timers/promises"
import type { RowsBeside } from "./datastore.ts"
import { spanOf } from "./kine.ts"
import { NotDone } from "./lost-answer.ts"
import type { SqlEngine } from "./sql-engine.ts"
import type { Replacement, Rewritten, RowBatch, RowQuery } from "./store.ts"

/** Some seconds, at the pause between them. */
const ATTEMPTS_MAX = 60
const PAUSE_MS_MAX = 100

/** Again and again while the database takes it back; what it took back was not done. */
export async function untilDone<T>(action: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1)
    try {
      return await action()
    } catch (error) {
      if (!(error instanceof NotDone) || attempt === ATTEMPTS_MAX) throw error
      await sleep(Math.min(attempt, PAUSE_MS_MAX))
    }
}

export class SqlRows implements RowsBeside {
  readonly #engine: Pick<SqlEngine, "rows" | "rewrite" | "close">

  constructor(engine: Pick<SqlEngine, "rows" | "rewrite" | "close">) {
    this.#engine = engine
  }

  rows(query: RowQuery): Promise<RowBatch> {
    const { limit, headBytes } = query
    return this.#engine.rows({ ...spanOf(query), limit, headBytes })
  }

  /** Repeating it is no harm, so a lost answer is no "unknown": what was replaced already is passed over. */
  async rewrite(fence: string, replacements: readonly Replacement[]): Promise<Rewritten> {
    const result = await untilDone(() => this.#engine.rewrite(fence, replacements))
    return result === "fenced" ? { outcome: "fenced" } : { outcome: "done", replaced: result }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#engine.close()
  }
}
