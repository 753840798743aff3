/** Rewriting where bytes cannot be replaced in place: transactions of compare-and-swap puts under the fence. */
import { isKnown, type KnownError } from "../errors.ts"
import { compareFence, txn } from "./etcd-calls.ts"
import type { EtcdChannel } from "./etcd-channel.ts"
import { FENCE } from "./etcd-keys.ts"
import type { Refused, Replacement, Rewritten } from "./store.ts"

/** etcd's --max-txn-ops is 128, of which the fence takes one comparison. */
const PUTS_MAX = 127
/** etcd's --max-request-bytes is 1.5 MiB. */
const BYTES_MAX = 1 << 20
/** So many that it does not wait while the next ones are sealed. */
const IN_FLIGHT_MAX = 16

type Batch = readonly Replacement[]
/** `lost`: at least one comparison of the batch, and nothing of it was written; an error: nothing of it is ever taken. */
type Put = (batch: Batch) => Promise<"done" | "lost" | "fenced" | KnownError>

/** Repeating it is no harm, so a lost answer is no "unknown": what was replaced already is passed over. */
export function rewrite(
  channel: EtcdChannel,
  fence: string,
  replacements: Batch,
): Promise<Rewritten> {
  const live = replacements.filter(({ column }) => column === "value")
  return rewriteAll(live, (batch) => replace(channel, fence, batch))
}

async function replace(channel: EtcdChannel, fence: string, batch: Batch): ReturnType<Put> {
  try {
    const { succeeded, ranges } = await txn(channel, {
      compare: [
        ...compareFence(fence),
        ...batch.map(({ key, revision: modified }) => ({ key, modified })),
      ],
      // etcd reads for each put that keeps a lease what it replaces, twice; that there is none the comparison makes sure of.
      success: batch.map(({ key, replacement: value, isLeased = true }) => ({
        put: { key, value, keepsLease: isLeased },
      })),
      failure: [{ range: { key: FENCE } }],
    })
    if (succeeded) return "done"
    return ranges[0]?.[0]?.value.toString() === fence ? "lost" : "fenced"
  } catch (error) {
    // Under the longer name of another key a value may be larger than etcd takes.
    if (isKnown(error, "ObjectInvalid")) return error
    throw error
  }
}

/** How many were replaced. A batch that lost or was refused is split until what is to blame stands alone; that is passed over. */
export async function rewriteAll(replacements: Batch, put: Put): Promise<Rewritten> {
  const waiting = batches(replacements)
  const refused: Refused[] = []
  let replaced = 0
  let isFenced = false
  const lane = async (): Promise<void> => {
    for (let batch = waiting.pop(); batch !== undefined && !isFenced; batch = waiting.pop()) {
      const outcome = await put(batch)
      if (outcome === "done") replaced += batch.length
      else if (outcome === "fenced") isFenced = true
      else if (batch.length > 1) {
        const middle = batch.length >>> 1
        waiting.push(batch.slice(0, middle), batch.slice(middle))
      } else if (outcome !== "lost")
        refused.push(...batch.map(({ key }) => ({ key, why: outcome.message })))
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT_MAX }, lane))
  if (isFenced) return { outcome: "fenced" }
  return { outcome: "done", replaced, ...(refused.length > 0 && { refused }) }
}

function batches(replacements: Batch): Batch[] {
  const all: Replacement[][] = []
  let room = 0
  for (const one of replacements) {
    const size = one.key.length + one.replacement.length
    const last = all.at(-1)
    if (last === undefined || size > room || last.length === PUTS_MAX) {
      all.push([one])
      room = BYTES_MAX
    } else last.push(one)
    room -= size
  }
  return all
}
