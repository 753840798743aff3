/** Looks at how old and how used the writing key is: says it in the log, and where that is wished turns the key. */
import type { Logger } from "pino"
import { isKnown } from "../errors.ts"
import type { Keys } from "../registry/keys.ts"
import { type Due, dueOf, type Limits } from "../rotation/due.ts"
import { isCounted, sealsOf, totalOf } from "../rotation/usage.ts"
import type { Operation } from "../rotation/operation.ts"
import type { Request } from "../rotation/verbs.ts"

export interface LimitParts {
  readonly keys: Keys
  readonly limits: Limits
  readonly now: () => Date
}

/** What is known of the writing key's limits now. */
export async function lookAtLimits({ keys, limits, now }: LimitParts): Promise<Due> {
  const usage = await keys.writes.read()
  return dueOf({ keyring: keys.view.record.keyring, usage, now: now() }, limits)
}

/** Of the keys whose writes are counted, as this server learned it last: at least every time it looks. */
export const keyWrites = ({ view, writes }: Keys): [{ key: string; provider: string }, number][] =>
  view.record.keyring.keys
    .filter(({ provider }) => isCounted(provider))
    .map(({ name: key, provider }) => [{ key, provider }, totalOf(sealsOf(writes.known, key))])

export interface WatchParts extends LimitParts {
  /** Returns the operation that it started; undefined where another server was first. */
  readonly take: (request: Request) => Promise<Operation | undefined>
  readonly log: Pick<Logger, "info" | "warn">
}

/** One look, to be repeated. What was said already is not said again. */
export function limitsWatch(parts: WatchParts): () => Promise<void> {
  let said: readonly string[] = []
  return async () => {
    const { warnings, turn } = await lookAtLimits(parts)
    const held = turn && parts.limits.autoRotate ? await turnKey(parts, turn) : undefined
    const sentences = held === undefined ? warnings : [...warnings, held]
    for (const sentence of sentences) if (!said.includes(sentence)) parts.log.warn(sentence)
    said = sentences
  }
}

/** Of several servers one turns it: the others find that the key does not write any more. Returns what keeps it from being
 *  turned; it is tried again at the next look. */
async function turnKey(
  { take, log }: WatchParts,
  { key, reason }: NonNullable<Due["turn"]>,
): Promise<string | undefined> {
  try {
    const request = { verb: "rotate-keys", force: false, skip: false, replaces: key } as const
    const operation = await take(request)
    if (operation) log.info({ id: operation.id, key, reason }, "the key is turned by --auto-rotate")
    return undefined
  } catch (error) {
    if (!isKnown(error)) throw error
    return `the key "${key}" is due and not turned yet: ${error.message}`
  }
}
