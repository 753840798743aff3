/** The batches of a pass, made in a thread (batch-thread.ts) over connections of its own: what they throw away is collected
 *  there, and SQLite's calls stand still for the disk there, while this thread answers requests. */
import { on } from "node:events"
import { extname, join } from "node:path"
import { SHARE_ENV, Worker } from "node:worker_threads"
import { type ErrorCode, KnownError } from "../errors.ts"
import type { OpenRecord } from "../keyring/record.ts"
import { step } from "../step.ts"
import type { Datastore } from "../store/datastore.ts"
import type { Aside, Store } from "../store/store.ts"
import { type Batch, type Batches, lookedAt, type Pass, rowsOf } from "./batches.ts"
import { allRows } from "./census.ts"
import { makeTarget, staleIn } from "./rewrite.ts"

const THREAD = join(import.meta.dirname, `batch-thread${extname(import.meta.filename)}`)

/** On SQLite a batch waits for no sync at its end: larger ones would only take memory. */
const ROWS_MAX_SQLITE = 500

export interface Order extends Pick<Pass, "cursor" | "upTo"> {
  readonly datastore: Datastore
  /** Its keys are KeyObjects there too. */
  readonly record: OpenRecord
  readonly version: string
}

/** Asks for a batch of at most so many rows; says that seals are counted; or that the thread is to end. */
export type Message = { readonly rows: number } | "counted" | "end"

export type Answer =
  /** Undefined: nothing is left. */
  | { readonly kind: "batch"; readonly batch: Batch | undefined }
  /** To be counted before they are made. */
  | { readonly kind: "seals"; readonly seals: number }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly message: string }

/** The thread is begun at the first row that is to be rewritten: often there is none. */
export const batchesBeside = (store: Store, datastore: Datastore): Batches =>
  async function* (pass) {
    const { view, signal, rows: limit } = pass
    const target = makeTarget(view)
    let { cursor } = pass
    let isStale = false
    for await (const read of allRows(store, rowsOf(pass, target), { signal, limit })) {
      isStale = staleIn(read.rows, target).length > 0
      if (isStale) break
      yield lookedAt(read)
      cursor = read.cursor
    }
    if (isStale)
      yield* beside({ datastore, inTurn: store.aside?.inTurn ?? atOnce }, { ...pass, cursor })
  }

const atOnce: Aside["inTurn"] = (work) => work()

async function* beside(
  { datastore, inTurn }: Pick<Aside, "inTurn"> & Pick<Order, "datastore">,
  { view, cursor, upTo, signal, rows, count }: Pass,
): AsyncGenerator<Batch> {
  const { record, version } = view
  const order: Order = { datastore, record: { ...record, slots: [] }, version, cursor, upTo }
  const rowsMax = datastore.kind === "sqlite" ? ROWS_MAX_SQLITE : Number.POSITIVE_INFINITY
  // In the environment stands where compiled sources are kept.
  const begin = async () => new Worker(THREAD, { workerData: order, execArgv: [], env: SHARE_ENV })
  const thread = await inTurn(begin)
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is a window's
  const say = (message: Message): void => thread.postMessage(message)
  const answers = on(thread, "message", { close: ["exit"] }) as AsyncIterator<[Answer], undefined>
  /** Throws what ended the thread. */
  const heard = async (): Promise<Answer> => {
    const { value } = await answers.next()
    if (value !== undefined) return value[0]
    throw new KnownError("StoreUnavailable", "the thread that rewrites has ended")
  }
  const next = async (): Promise<Batch | undefined> => {
    signal.throwIfAborted()
    say({ rows: Math.min(rows(), rowsMax) })
    for (;;) {
      const answer = await heard()
      if (answer.kind === "batch") return answer.batch
      if (answer.kind === "failed") throw new KnownError(answer.code, answer.message)
      await count(answer.seals)
      say("counted")
    }
  }
  try {
    for (;;) {
      const batch = await step("batch", () => inTurn(next))
      if (batch === undefined) return
      yield batch
    }
  } finally {
    say("end")
    while ((await answers.next()).value !== undefined); // until it has ended, or failed
  }
}
