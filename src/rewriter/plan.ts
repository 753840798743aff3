/** What a verb would do if it were taken now. It goes the verb's own way up to where that writes: the same decision, the same rows,
 *  each value that is not under the target opened and sealed anew. What comes out is counted and thrown away; nothing is written. */
import { type ErrorCode, isKnown, KnownError } from "../errors.ts"
import { SECRETS_PREFIX } from "../registry/resource.ts"
import { makeView } from "../registry/view.ts"
import {
  leftBehind,
  type Operation,
  UNREADABLE_NAMED_MAX,
  type Verb,
} from "../rotation/operation.ts"
import { COUNTED_FOR_REWRITTEN, RATE_MIN } from "../rotation/pace.ts"
import type { Store } from "../store/store.ts"
import { rowsOf } from "./batches.ts"
import { allRows, rowsIn, uncompacted } from "./census.ts"
import { type Step, stepOf, type VerbParts } from "./take-verb.ts"
import { makeTarget, sealAnew, staleIn, type Target } from "./rewrite.ts"

export interface Plan {
  readonly verb: Verb
  /** Why it would be refused, or would not end well; null: it would go. */
  readonly blocked: { readonly code: ErrorCode; readonly message: string } | null
  /** Null: it would rewrite nothing. */
  readonly work: Work | null
}

export interface Work {
  /** Live ones. */
  readonly secrets: number
  /** Rows to look at. */
  readonly rows: number
  /** Stored byte strings to seal anew, old values too, and their bytes. */
  readonly values: number
  readonly bytes: number
  /** Transactions. */
  readonly batches: number
  /** Of watches. */
  readonly events: number
  /** About, while nobody asks anything of the API: see {@link REWRITE_BY_READING}. */
  readonly seconds: number
  /** About, beside requests: see {@link RATE_MIN}. */
  readonly secondsBeside: number
  readonly unreadable: number
  readonly unreadableNames: Operation["unreadableNames"]
}

export interface PlanParts extends VerbParts {
  readonly store: Store
  readonly engine: Engine
  readonly monotonicMs: () => number
  readonly signal: AbortSignal
}

/** How many times longer a whole rewrite was measured to last than the reading, opening and sealing that is timed here, for it also
 *  writes, clears what it left, and reads all again for the proof: docs/operate/rotation.md, "Ask first". */
const REWRITE_BY_READING = { sqlite: 1.8, postgres: 5, mysql: 6, etcd: 4 } as const
type Engine = keyof typeof REWRITE_BY_READING

export async function planVerb(verb: Verb, parts: PlanParts): Promise<Plan> {
  const step = await stepOf({ verb, force: false, skip: false }, parts).catch(refusalIn)
  if (step instanceof KnownError) {
    const { code, message } = step
    return { verb, blocked: { code, message }, work: null }
  }
  const work = step?.starts ? await workOf(step, parts) : null
  return { verb, blocked: work && keepsKeys(work), work }
}

/** What the datastore could not do says nothing of the verb. */
function refusalIn(error: unknown): KnownError {
  if (isKnown(error) && !isKnown(error, "StoreUnavailable")) return error
  throw error
}

async function workOf({ keyring }: Step, parts: PlanParts): Promise<Work> {
  const { store, engine, keys, monotonicMs } = parts
  const { record, version } = keys.view
  const target = makeTarget(makeView({ ...record, keyring }, version))
  const begunMs = monotonicMs()
  const counted = await uncompacted(() => count(target, parts))
  const seconds = (REWRITE_BY_READING[engine] * (monotonicMs() - begunMs)) / 1000
  return {
    secrets: await store.count(SECRETS_PREFIX),
    ...counted,
    events: engine === "etcd" ? counted.values : 0,
    seconds,
    secondsBeside: seconds + (counted.rows * (1 + 1 / COUNTED_FOR_REWRITTEN)) / RATE_MIN,
  }
}

type Counted = Omit<Work, "secrets" | "events" | "seconds" | "secondsBeside">

async function count(target: Target, { store, signal }: PlanParts): Promise<Counted> {
  let all: Counted = {
    rows: 0,
    values: 0,
    bytes: 0,
    batches: 0,
    unreadable: 0,
    unreadableNames: [],
  }
  for await (const read of allRows(store, rowsOf({ cursor: "" }, target), { signal })) {
    const { replacements, unreadable } = sealAnew(staleIn(read.rows, target), target)
    const bytes = replacements.reduce((sum, { replacement }) => sum + replacement.length, 0)
    all = {
      rows: all.rows + rowsIn(read),
      values: all.values + replacements.length,
      bytes: all.bytes + bytes,
      batches: all.batches + (replacements.length > 0 ? 1 : 0),
      unreadable: all.unreadable + unreadable.length,
      unreadableNames: [...all.unreadableNames, ...unreadable].slice(0, UNREADABLE_NAMED_MAX),
    }
  }
  return all
}

/** It would go, and end so. */
function keepsKeys(work: Work): Plan["blocked"] {
  const message = leftBehind({ ...work, kept: {} })
  return message === null ? null : { code: "KeyStillNeeded", message }
}
