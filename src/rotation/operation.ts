/** The operation record: the running rewrite, or how the last one ended. It holds no secret and lies in the datastore as JSON;
 *  names are stored, never rename one. */
import { isRecord } from "../format/schema.ts"
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

export const VERBS = [
  "enable",
  "disable",
  "prepare",
  "rotate",
  "reencrypt",
  "rotate-keys",
  "abort",
] as const
export type Verb = (typeof VERBS)[number]

/** K3s' words for its verbs, in the bodies that ask for them, and `abort`, which it does not have. The other two it asks for by
 *  `enable`, true or false. */
export const K3S_STAGES = {
  prepare: "prepare",
  rotate: "rotate",
  rotate_keys: "rotate-keys",
  reencrypt_active: "reencrypt",
  abort: "abort",
} as const satisfies Readonly<Record<string, Verb>>

/** The verbs that start a rewrite. */
export type OperationKind = Exclude<Verb, "prepare" | "rotate" | "abort">

/** A name of a stored value with the reason why it does not open, or is not taken when it is rewritten; no contents. */
export interface Unreadable {
  readonly key: string
  readonly why: string
}

export const STATES = ["running", "finished", "superseded", "aborted"] as const

/** The census at the end of an operation, and what it holds for: no value under another fence than `fence` was written after
 *  `revision`. */
export interface Proof {
  readonly fence: string
  readonly revision: number
  /** Stored byte strings under each key: under the active ones, and under any other that has some. */
  readonly counts: Readonly<Record<string, number>>
}

const PROOF_SHAPE: Shape<Proof> = { fence: isText, revision: isCount, counts: isCounts }
export const isProof = (value: unknown): boolean => hasShape(PROOF_SHAPE, value)

export interface Operation {
  readonly id: string
  readonly kind: OperationKind
  /** `superseded`: its fence is not the keyring's any more. `aborted`: somebody took the verb. */
  readonly state: (typeof STATES)[number]
  /** The fence it runs under; it is over when the fence is another. */
  readonly fence: string
  /** The server that runs it; null: given back by a server that ended, for whoever comes first. */
  readonly holder: string | null
  /** The keyring's writing key under that fence, for people to read; null: identity. */
  readonly target: string | null
  /** Whether it ends in retiring the keys that nothing needs any more. */
  readonly retires: boolean
  /** Whether the database's file is written afresh before it ends, whatever is found in it; absent: no. */
  readonly vacuums?: true
  /** RFC 3339, for people only. */
  readonly started: string
  readonly ended: string | null
  /** Pass 1 covers revisions up to barrier A, pass 2 from there to barrier B; then the proof. */
  readonly pass: 1 | 2
  /** The last revision of the running pass; null: its barrier is still to be taken. */
  readonly upTo: number | null
  /** Up to where rows were looked at, in the store's own words. */
  readonly cursor: string
  /** How often a holder has changed the record: one that comes back from a copy of the datastore says less than was seen of it. */
  readonly moves: number
  /** Rows of both passes, as far as known, and how many of them were looked at. */
  readonly rows: number
  readonly looked: number
  /** Stored byte strings that were rewritten. */
  readonly rewritten: number
  /** A runner went on within a pass that another had begun, or itself before a failure. Absent: no. */
  readonly resumed?: true
  /** What did not open: all of them counted, the first hundred named. */
  readonly unreadable: number
  readonly unreadableNames: readonly Unreadable[]
  /** Keys that the proof retired, and those it kept with the number of stored byte strings under them. */
  readonly retired: readonly string[]
  readonly kept: Readonly<Record<string, number>>
  /** Null: it has made none yet. */
  readonly proof: Proof | null
}

export const isRunning = (operation: Operation | undefined): operation is Operation =>
  operation?.state === "running"

/** What a server answers about it: with why its rewriting stands still at present; absent where it does not. */
export interface OperationSeen extends Operation {
  readonly trouble?: string
}

export const UNREADABLE_NAMED_MAX = 100

export const startOperation = (of: {
  id: string
  kind: OperationKind
  holder: string
  target: string | null
  retires: boolean
  vacuums?: boolean
  now: Date
}): Omit<Operation, "fence"> => ({
  id: of.id,
  kind: of.kind,
  state: "running",
  holder: of.holder,
  target: of.target,
  retires: of.retires,
  ...(of.vacuums && { vacuums: true }),
  started: of.now.toISOString(),
  ended: null,
  pass: 1,
  upTo: null,
  cursor: "",
  moves: 0,
  rows: 0,
  looked: 0,
  rewritten: 0,
  unreadable: 0,
  unreadableNames: [],
  retired: [],
  kept: {},
  proof: null,
})

export const encodeOperation = (operation: Operation): Buffer =>
  Buffer.from(JSON.stringify(operation))

const SHAPE: Shape<Operation> = {
  id: isText,
  kind: oneOf(VERBS),
  state: oneOf(STATES),
  fence: isText,
  holder: orNull(isText),
  target: orNull(isText),
  retires: oneOf([true, false]),
  vacuums: oneOf([true, undefined]),
  started: isText,
  ended: orNull(isText),
  pass: oneOf([1, 2]),
  upTo: orNull(isCount),
  cursor: isText,
  moves: isCount,
  rows: isCount,
  looked: isCount,
  rewritten: isCount,
  resumed: oneOf([true, undefined]),
  unreadable: isCount,
  unreadableNames: (value) => Array.isArray(value) && value.every(isRecord),
  retired: isTexts,
  kept: isCounts,
  proof: orNull(isProof),
}

/** Undefined where the record is damaged: it holds nothing that the next verb does not find out anew, so it stops nobody. */
export function decodeOperation(stored: Buffer): Operation | undefined {
  const value = parsed(stored)
  return hasShape(SHAPE, value) ? value : undefined
}

/** In words, for refusals: `rotate-keys to the key "aescbckey-…" is under way (120 of 900 rows left)`. */
export function describeOperation(operation: Operation): string {
  const { kind, target, rows, looked } = operation
  const to = target === null ? "plain text" : `the key "${target}"`
  const begun = `${kind} to ${to} is under way`
  if (isRewritten(operation))
    return `${begun}: it waits for the datastore to clear what was rewritten, and for the proof`
  return rows > 0 ? `${begun} (${Math.max(0, rows - looked)} of ${rows} stored rows left)` : begun
}

/** Both passes are over. */
const isRewritten = ({ pass, upTo, rows, looked }: Operation): boolean =>
  pass === 2 && upTo !== null && looked >= rows

export const describeTrouble = (kind: OperationKind, trouble: string): string =>
  `${kind} stands still: ${trouble}; the server tries again by itself`

/** What an ended operation could not do, with the names of the values; null where it did all. */
export function leftBehind({ kept, unreadable, unreadableNames }: Left): string | null {
  const keys = Object.entries(kept).map(
    ([name, values]) => `the key ${quoted(name)} is kept for ${counted(values)}`,
  )
  const named = unreadableNames.map(({ key, why }) => (why.includes(key) ? why : `${key}: ${why}`))
  const more = unreadable - named.length
  // A value and its copy in the history are two of one name.
  const names = [...new Set(named), ...(named.length > 0 && more > 0 ? [`and ${more} more`] : [])]
  const which = names.length > 0 ? `: ${names.join(", ")}` : ""
  const values = unreadable > 0 ? [`cannot rewrite ${counted(unreadable)}${which}`] : []
  const all = [...keys, ...values]
  return all.length === 0 ? null : all.join("; ")
}

type Left = Pick<Operation, "kept" | "unreadable" | "unreadableNames">

export const counted = (values: number) => `${values} stored value${values === 1 ? "" : "s"}`

/** Before the number that was rewritten: what a runner did after it last saved is not in it. */
export const atLeast = ({ state, resumed }: Pick<Operation, "state" | "resumed">) =>
  state === "finished" && !resumed ? "" : "at least "

export const quoted = (name: string) => `"${name}"`
