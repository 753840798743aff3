import type { Keys } from "../registry/keys.ts"

/** Rounds that clear what earlier keyrings left in the datastore's files (I6). Whoever changed the keyring does so itself, unless it ended or
 *  could not: so what is due in the first round is cleared, and later what stays due from one round to the next. */
export function overdueScrub(keys: Pick<Keys, "scrub" | "scrubDue">): () => Promise<void> {
  let isFirst = true
  let before: string | undefined
  return async () => {
    const due = await keys.scrubDue()
    const isOverdue = isFirst || due === before
    isFirst = false
    before = due
    if (isOverdue) await keys.scrub()
  }
}
