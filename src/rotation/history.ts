/** The history record: who did what to the keys, and how it ended. It changes in the commits that begin and end what it tells
 *  of. It holds no secret, is not sealed, and lies in the datastore as JSON, oldest first; names are stored, never rename one. */
import { KnownError } from "../errors.ts"
import { isProof, isRunning, type Operation, STATES, type Verb } from "./operation.ts"
import {
  hasShape,
  isCount,
  isCounts,
  isText,
  isTexts,
  oneOf,
  orNull,
  parsed,
  type Shape,
} from "./shape.ts"

/** As they are typed; those of `secrets-encrypt` without that word. */
export type EnteredVerb =
  | Verb
  | "keys destroy"
  | "token rotate"
  | "recovery-key create"
  | "recovery-key revoke"
  | "snapshot restore"

/** Who asked. */
export interface Caller {
  readonly user: string
  /** Of the client, as the server's socket saw it. */
  readonly address: string
}

/** What was done for whom. */
export interface Taken extends Caller {
  readonly verb: string
  /** What it is about, mostly a key, or the id of a recovery key; null: identity, or nothing. */
  readonly target: string | null
}

export interface HistoryEntry extends Taken {
  /** Of the operation that it started, where it started one. */
  readonly id: string
  readonly verb: EnteredVerb
  /** That took the verb. */
  readonly server: string
  /** RFC 3339, for people only. */
  readonly begun: string
  readonly ended: string | null
  readonly outcome: Operation["state"]
  /** The entry that ended it before its own end. */
  readonly endedBy: string | null
  /** As in the operation. */
  readonly looked: number
  readonly rewritten: number
  readonly resumed?: true
  readonly unreadable: number
  readonly retired: readonly string[]
  readonly kept: Operation["kept"]
  readonly proof: Operation["proof"]
}

/** The user where a recovery key was given in place of the token. */
export const BY_RECOVERY_KEY = "--recovery-key-file"

export const ENTRIES_MAX = 100
/** A record stays far below what any datastore takes as one value. */
export const HISTORY_BYTES_MAX = 128 * 1024
const TEXT_MAX = 256

/** An entry of something that is done with the commit that enters it. */
export const entryOf = (of: {
  id: string
  verb: EnteredVerb
  caller: Caller
  server: string
  target: string | null
  now: Date
}): HistoryEntry => ({
  id: of.id,
  verb: of.verb,
  user: of.caller.user.slice(0, TEXT_MAX),
  address: of.caller.address.slice(0, TEXT_MAX),
  server: of.server,
  target: of.target,
  begun: of.now.toISOString(),
  ended: of.now.toISOString(),
  outcome: "finished",
  endedBy: null,
  looked: 0,
  rewritten: 0,
  unreadable: 0,
  retired: [],
  kept: {},
  proof: null,
})

/** A change of the records, as far as the history tells of it. */
export interface Told {
  /** What is entered. */
  readonly entry: HistoryEntry | undefined
  /** The operation record before the change, and what the change puts there; undefined: it leaves it as it is. */
  readonly before: Operation | undefined
  readonly after: Operation | undefined
}

/** Whether {@link historyAfter} changes anything. */
export const isTold = ({ entry, before, after }: Told): boolean =>
  entry !== undefined || (isRunning(before) && after !== undefined && !goesOn(before, after))

const goesOn = (before: Operation, after: Operation): boolean =>
  after.id === before.id && isRunning(after)

export function historyAfter(
  history: readonly HistoryEntry[],
  { entry, before, after }: Told,
): HistoryEntry[] {
  const over = isRunning(before) && after && !goesOn(before, after) ? before.id : undefined
  const ended = history.map((one) =>
    one.id === over && before && after ? withEnd(one, { entry, before, after }) : one,
  )
  if (entry === undefined) return ended
  const runs = isRunning(after) && after.id === entry.id
  return [...ended, runs ? { ...entry, ended: null, outcome: "running" } : entry]
}

function withEnd(
  one: HistoryEntry,
  {
    entry,
    before,
    after,
  }: { entry: HistoryEntry | undefined; before: Operation; after: Operation },
): HistoryEntry {
  const own = after.id === before.id
  const { state, ended, ...last } = own ? after : before
  const { looked, rewritten, resumed, unreadable, retired, kept, proof } = last
  return {
    ...one,
    outcome: own ? state : entry?.verb === "abort" ? "aborted" : "superseded",
    ended: own ? ended : after.started,
    endedBy: entry?.id ?? null,
    looked,
    rewritten,
    ...(resumed && { resumed }),
    unreadable,
    retired,
    kept,
    proof,
  }
}

/** What is told of an operation that ended by itself. */
export type Ended = { readonly state: "finished" } & Pick<
  Operation,
  | "started"
  | "ended"
  | "rewritten"
  | "resumed"
  | "retired"
  | "kept"
  | "unreadable"
  | "unreadableNames"
>

/** The operation that is waited for, running or finished: as its record is seen now, or as history tells where another has taken its
 *  place there. Throws RotationUnderWay where another verb took it over, RotationAborted. */
export async function seenAgain<Seen extends Operation>(
  { id, kind }: { readonly id: string; readonly kind: Verb },
  seen: Seen | null | undefined,
  history: () => Promise<readonly HistoryEntry[]>,
): Promise<Seen | Ended> {
  const now = seen?.id === id ? seen : undefined
  const entry = now ? undefined : (await history()).find((one) => one.id === id)
  const state = now?.state ?? entry?.outcome
  if (state === "aborted")
    throw new KnownError("RotationAborted", `${kind} did not end: it was aborted`)
  if (now !== undefined && state !== "superseded") return now
  if (entry !== undefined && state === "finished")
    return { ...entry, state, started: entry.begun, unreadableNames: [] }
  throw new KnownError("RotationUnderWay", `${kind} did not end: another verb took it over`)
}

/** The newest entries, as many as the record may hold. */
export function encodeHistory(history: readonly HistoryEntry[]): Buffer {
  const texts = history.slice(-ENTRIES_MAX).map((entry) => JSON.stringify(entry))
  let bytes = 0
  const kept = texts.toReversed().filter((text) => {
    bytes += Buffer.byteLength(text) + 1
    return bytes < HISTORY_BYTES_MAX
  })
  return Buffer.from(`[${kept.toReversed().join(",")}]`)
}

const SHAPE: Shape<HistoryEntry> = {
  id: isText,
  verb: isText,
  user: isText,
  address: isText,
  server: isText,
  target: orNull(isText),
  begun: isText,
  ended: orNull(isText),
  outcome: oneOf(STATES),
  endedBy: orNull(isText),
  looked: isCount,
  rewritten: isCount,
  resumed: oneOf([true, undefined]),
  unreadable: isCount,
  retired: isTexts,
  kept: isCounts,
  proof: orNull(isProof),
}

/** What is damaged is left out: it stops nobody. */
export function decodeHistory(stored: Buffer): HistoryEntry[] {
  const value = parsed(stored)
  return Array.isArray(value) ? value.filter((entry) => hasShape(SHAPE, entry)) : []
}
