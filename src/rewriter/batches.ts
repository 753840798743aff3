/** The batches of one pass: rows are read, what is not under the key that writes is sealed anew, and written where it lies if it
 *  is still what was read. Which pass, and what comes after it, is run.ts'. */
import type { View } from "../registry/view.ts"
import type { Unreadable } from "../rotation/operation.ts"
import { step } from "../step.ts"
import type { RowBatch, RowRange, Store } from "../store/store.ts"
import { allRows, rowsIn } from "./census.ts"
import { makeTarget, sealAnew, staleIn, type Target } from "./rewrite.ts"

export interface Pass {
  /** Of the keyring whose key is the target. */
  readonly view: View
  readonly cursor: string
  readonly upTo: number
  readonly signal: AbortSignal
  /** Of the next batch, at most. */
  readonly rows: () => number
  /** Returns when so many seals are counted, before they are made. */
  readonly count: (seals: number) => Promise<void>
}

export interface Batch {
  /** Of the last row that was looked at. */
  readonly cursor: string
  readonly looked: number
  /** Byte strings; "fenced": none, for the view's fence does not hold any more. */
  readonly rewritten: number | "fenced"
  readonly unreadable: readonly Unreadable[]
}

export type Batches = (pass: Pass) => AsyncIterable<Batch>

type Rows = Pick<Store, "rows" | "rewrite">

/** The next batch is made ready and begun while one is under way. */
export const batchesOf =
  (store: Rows): Batches =>
  (pass) =>
    overlapped(sealedBatches(store, pass), (sealed) => write(store, pass.view, sealed))

/** Nothing is under way between two batches. */
export const batchByBatch = (store: Rows): Batches =>
  async function* (pass) {
    for await (const sealed of sealedBatches(store, pass))
      yield await write(store, pass.view, sealed)
  }

interface Sealed extends ReturnType<typeof sealAnew> {
  readonly read: RowBatch
}

async function* sealedBatches(store: Rows, pass: Pass): AsyncGenerator<Sealed> {
  const { view, signal, rows: limit } = pass
  const target = makeTarget(view)
  for await (const read of allRows(store, rowsOf(pass, target), { signal, limit }))
    yield sealed(read, pass, target)
}

/** The rows of a range that may not be under the target. */
export const rowsOf = ({ cursor, upTo }: RowRange, { settled }: Target) => ({
  cursor,
  ...(upTo !== undefined && { upTo }),
  ...(settled && { except: settled }),
})

async function sealed(
  read: RowBatch,
  { count }: Pick<Pass, "count">,
  target: Target,
): Promise<Sealed> {
  const stale = staleIn(read.rows, target)
  await count(stale.length)
  return { read, ...sealAnew(stale, target) }
}

async function write(
  store: Rows,
  view: View,
  { read, replacements, unreadable }: Sealed,
): Promise<Batch> {
  const looked = { ...lookedAt(read), unreadable }
  if (replacements.length === 0) return looked
  const result = await step("batch", () => store.rewrite(view.record.fence, replacements))
  if (result.outcome === "fenced") return { ...looked, rewritten: "fenced" }
  const { replaced, refused = [] } = result
  return { ...looked, rewritten: replaced, unreadable: [...unreadable, ...refused] }
}

/** A batch of which nothing is to be rewritten. */
export const lookedAt = (read: RowBatch): Batch => ({
  cursor: read.cursor,
  looked: rowsIn(read),
  rewritten: 0,
  unreadable: [],
})

/** What becomes of each item, in order. The next one is made ready and begun while one is under way, so that the store is never
 *  without work; more at once would only hold more of it in memory. */
async function* overlapped<T, R>(
  items: AsyncIterable<T>,
  begin: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  let underWay: Promise<R> | undefined
  for await (const item of items) {
    const begun = begin(item)
    begun.catch(() => {}) // whoever waits for it learns of it
    if (underWay !== undefined) yield await underWay
    underWay = begun
  }
  if (underWay !== undefined) yield await underWay
}
