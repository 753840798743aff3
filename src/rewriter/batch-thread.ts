/** The thread that batches-beside.ts starts. One batch for each message that asks for one; it ends when it is told to, or fails. */
import { once } from "node:events"
import { parentPort, type MessagePort, workerData } from "node:worker_threads"
import { bug, isKnown, KnownError } from "../errors.ts"
import { makeView } from "../registry/view.ts"
import { openRows } from "../store/datastore.ts"
import { batchByBatch, batchesOf } from "./batches.ts"
import type { Answer, Message, Order } from "./batches-beside.ts"

const port: MessagePort = parentPort ?? bug("this is a thread's")

async function heard(): Promise<Message> {
  const [message] = (await once(port, "message")) as [Message]
  return message
}

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is a window's
const answer = (said: Answer): void => port.postMessage(said)

async function makeBatches({ datastore, record, version, ...pass }: Order): Promise<void> {
  const view = makeView(record, version)
  const count = async (seals: number): Promise<void> => {
    if (view.counted === undefined) return
    answer({ kind: "seals", seals })
    if ((await heard()) !== "counted")
      throw new KnownError("StoreUnavailable", "the seals were not counted")
  }
  await using rows = await openRows(datastore)
  let limit = 0
  const { signal } = new AbortController()
  const order = { ...pass, view, signal, rows: () => limit, count }
  const batches = (datastore.kind === "sqlite" ? batchByBatch : batchesOf)(rows)(order)
  const each = batches[Symbol.asyncIterator]()
  for (;;) {
    const asked = await heard()
    if (typeof asked === "string") return
    limit = asked.rows
    const next = await each.next()
    if (next.done) rows.checkpoint?.()
    answer({ kind: "batch", batch: next.done ? undefined : next.value })
  }
}

try {
  await makeBatches(workerData as Order)
} catch (error) {
  if (!isKnown(error)) throw error
  answer({ kind: "failed", code: error.code, message: error.message })
} finally {
  port.close()
}
