/** Revisions that cannot be read, in every datastore's words. */
import { KnownError } from "../errors.ts"

export const futureRevision = (revision: number, newest: number): KnownError =>
  new KnownError("FutureRevision", `revision ${revision} is not reached, the newest is ${newest}`)

export function refuseFuture(revision: number, newest: number): void {
  if (revision > newest) throw futureRevision(revision, newest)
}

export const compactedAway = (revision: number, compacted: number): KnownError =>
  new KnownError("Compacted", `revision ${revision} is compacted, history begins at ${compacted}`)
