/** What becomes of a statement whose answer did not come, for every datastore behind a network: it is looked for once
 *  and never repeated. */
import { KnownError } from "../errors.ts"
import type { EngineWrite } from "./engine-write.ts"
import type { Entry, WriteResult } from "./store.ts"

/** The datastore took the statement back (deadlock, lock time-out, no leader), or it was never sent: nothing was written. */
export class NotDone extends KnownError {
  constructor(message: string, options?: ErrorOptions) {
    super("StoreUnavailable", message, options)
  }
}

/** The connection ended after the statement was sent and before the answer came: a write may have happened, may still
 *  happen, or may never. */
export class AnswerLost extends KnownError {
  constructor(message: string, options?: ErrorOptions) {
    super("StoreUnavailable", message, options)
  }
}

/** One change of a key, as it is remembered. */
export interface WrittenRow {
  readonly revision: number
  readonly created: boolean
  readonly deleted: boolean
  readonly replaces: number
  readonly value: Buffer | undefined
}

/** Where to look. */
export interface Look {
  /** The changes of the key since the write began. */
  rows(): Promise<readonly WrittenRow[]>
  live(): Promise<Entry | undefined>
  fence(): Promise<string | undefined>
}

export interface Loss {
  readonly lost: AnswerLost
  /** Called with what kept it from being looked for. */
  readonly warn: (message: string, error: unknown) => void
}

/** Looks once, and never writes. Throws OutcomeUnknown where nobody can tell, for the write may still be on its way. */
export async function lookFor(
  write: EngineWrite,
  look: Look,
  { lost, warn }: Loss,
): Promise<WriteResult> {
  try {
    const found = await whatBecameOf(write, look)
    if (found !== undefined) return found
  } catch (error) {
    warn(`${write.key} could not be looked for`, error)
  }
  throw unknown(`the ${write.kind} of ${write.key}`, lost)
}

async function whatBecameOf(write: EngineWrite, look: Look): Promise<WriteResult | undefined> {
  const rows = await look.rows()
  const ours = rows.find((row) => isOurs(row, write))
  if (ours !== undefined) return { outcome: "done", revision: ours.revision }
  // What was replaced by another cannot be replaced by ours any more. A create still can come: whoever stands in its way may go first.
  const isTaken =
    write.kind !== "create" && rows.some(({ replaces }) => replaces === write.expected)
  // Once the fence moved, other bytes may be ours that were rewritten since.
  const isSure = write.fence === undefined || (await look.fence()) === write.fence
  return isTaken && isSure ? { outcome: "conflict", current: await look.live() } : undefined
}

/** A tombstone has no bytes of its own: that of the same revision is ours as well as another's. */
function isOurs(row: WrittenRow, { kind, expected, value }: EngineWrite): boolean {
  if (kind === "delete") return row.deleted && row.replaces === expected
  const isKind = kind === "create" ? row.created : !row.created && row.replaces === expected
  return isKind && !row.deleted && value !== null && row.value?.equals(value) === true
}

export const unknown = (what: string, lost: AnswerLost): KnownError =>
  new KnownError("OutcomeUnknown", `${what} may have happened: ${lost.message}`, { cause: lost })

/** Node's error for a host with several addresses has no message of its own. */
export const reasonOf = (error: Error): string =>
  error.message || ("code" in error && typeof error.code === "string" ? error.code : error.name)
