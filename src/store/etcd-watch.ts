/** Following etcd's history: whole revisions, in order, none twice, none missing. */
import { setImmediate as turn } from "node:timers/promises"
import { KnownError } from "../errors.ts"
import { txn } from "./etcd-calls.ts"
import type { EtcdChannel } from "./etcd-channel.ts"
import {
  decodeWatch,
  encodeWatch,
  type KeySpan,
  type KeyValue,
  type WatchEvent,
} from "./etcd-messages.ts"
import { BATCH_BYTES_MAX } from "./kine.ts"
import { AnswerLost } from "./lost-answer.ts"
import type { Change } from "./store.ts"

const GATHERED_EVENTS_MAX = 1_000
const GATHERED_BYTES_MAX = 4 << 20
/** etcd's --max-txn-ops. */
const ASKED_MAX = 128
/** Of what was put in their place, which is about as long. */
const ASKED_BYTES_MAX = 8 << 20
const ANSWER_BYTES_MAX = 2 * ASKED_BYTES_MAX

/** History up to `revision` was compacted before it was told. */
export class HistoryGone extends Error {
  readonly revision: number

  constructor(revision: number) {
    super(`history begins at ${revision}`)
    this.revision = revision
  }
}

export interface WatchedRange {
  readonly range: KeySpan
  readonly after: number
  readonly signal: AbortSignal
}

export interface WatchBatch {
  /** Empty where nothing happened up to `upTo`. */
  readonly events: readonly WatchEvent[]
  readonly upTo: number
}

/** Every event of a range after a revision, in batches of whole revisions: of long history, of which etcd tells a thousand
 *  revisions in one answer, none of much more than {@link BATCH_BYTES_MAX}. Throws {@link HistoryGone}; KnownError
 *  StoreUnavailable where the stream ended, to be taken up where the last batch ended. */
export async function* watchRange(
  channel: EtcdChannel,
  { range, after, signal }: WatchedRange,
): AsyncGenerator<WatchBatch> {
  let events: WatchEvent[] = []
  let upTo = after
  const request = encodeWatch(range, after)
  const messages = channel.stream("/etcdserverpb.Watch/Watch", request, { signal })
  for await (const message of messages) {
    const answer = decodeWatch(message)
    if (answer.compacted > 0) throw new HistoryGone(answer.compacted)
    if (answer.canceled)
      throw new KnownError("StoreUnavailable", `${channel.where}: watch ended: ${answer.reason}`)
    if (answer.created) continue
    events.push(...answer.events)
    if (answer.fragment) {
      if (sizeBytes(events) <= BATCH_BYTES_MAX) continue
      // The last revision may go on in the next fragment.
      const begun = events.at(-1)?.entry.modified
      const whole = events.filter(({ entry }) => entry.modified !== begun)
      events = events.slice(whole.length)
      upTo = whole.at(-1)?.entry.modified ?? upTo
      if (whole.length > 0) yield { events: whole, upTo }
      continue
    }
    // A member that lags behind the others tells of an older revision where nothing happened.
    upTo = Math.max(upTo, events.at(-1)?.entry.modified ?? answer.revision)
    yield { events, upTo }
    events = []
  }
}

/** {@link watchRange}, with what is there already in one batch: who takes longer than they come has more at a time. */
export async function* watchGathered(
  channel: EtcdChannel,
  from: WatchedRange,
): AsyncGenerator<WatchBatch> {
  const over = new AbortController()
  const signal = AbortSignal.any([from.signal, over.signal])
  const batches = watchRange(channel, { ...from, signal })
  const read = () => {
    const next = batches.next()
    next.catch(() => {}) // told when it is waited for
    return next
  }
  try {
    let next = read()
    for (;;) {
      const first = await next
      if (first.done === true) return
      let { upTo } = first.value
      const events = [...first.value.events]
      next = read()
      let roomBytes = GATHERED_BYTES_MAX - sizeBytes(events)
      while (events.length < GATHERED_EVENTS_MAX && roomBytes > 0) {
        const more = await Promise.race([next.catch(() => undefined), turn()])
        if (more === undefined || more.done === true) break
        events.push(...more.value.events)
        roomBytes -= sizeBytes(more.value.events)
        upTo = more.value.upTo
        next = read()
      }
      yield { events, upTo }
    }
  } finally {
    over.abort()
  }
}

const sizeBytes = (events: readonly WatchEvent[]): number =>
  events.reduce((sum, { entry }) => sum + entry.value.length, 0)

/** An event, and what it replaced: of a create nothing. */
export interface Replacing extends WatchEvent {
  readonly previous: KeyValue | undefined
}

const isCreate = ({ deleted, entry }: WatchEvent): boolean =>
  !deleted && entry.created === entry.modified

/** In parts, in order; asked for many at once, for etcd's own `prev_kv` copies its unwritten buffer for each event, which
 *  costs it three times what the writes do. Throws WasCompacted. */
export async function* withReplaced(
  channel: EtcdChannel,
  events: readonly WatchEvent[],
): AsyncGenerator<Replacing[]> {
  for (const some of askedTogether(events)) yield* replacing(channel, some)
}

/** What is too long for one answer, as many deleted values may be, is asked for in halves, one after the other. */
async function* replacing(
  channel: EtcdChannel,
  events: readonly WatchEvent[],
): AsyncGenerator<Replacing[]> {
  const asked = events.filter((event) => !isCreate(event))
  const ranges = asked.length === 0 ? [] : await replacedBy(channel, asked)
  if (ranges === "too much") {
    const middle = events.length >>> 1
    yield* replacing(channel, events.slice(0, middle))
    yield* replacing(channel, events.slice(middle))
    return
  }
  const previous = new Map(asked.map((event, index) => [event, ranges[index]?.[0]]))
  yield events.map((event) => ({ ...event, previous: previous.get(event) }))
}

async function replacedBy(
  channel: EtcdChannel,
  events: readonly WatchEvent[],
): Promise<readonly KeyValue[][] | "too much"> {
  const success = events.map(({ entry: { key, modified } }) => ({
    range: { key, revision: modified - 1 },
  }))
  const isOne = events.length === 1
  const options = isOne ? { isRepeatable: true } : { answerBytesMax: ANSWER_BYTES_MAX }
  try {
    return (await txn(channel, { compare: [], success, failure: [] }, options)).ranges
  } catch (error) {
    if (error instanceof AnswerLost && !isOne) return "too much"
    throw error
  }
}

function* askedTogether(events: readonly WatchEvent[]): Generator<WatchEvent[]> {
  let some: WatchEvent[] = []
  let roomBytes = ASKED_BYTES_MAX
  for (const event of events) {
    some.push(event)
    roomBytes -= event.entry.value.length
    if (some.length < ASKED_MAX && roomBytes > 0) continue
    yield some
    some = []
    roomBytes = ASKED_BYTES_MAX
  }
  if (some.length > 0) yield some
}

export function changeOf(event: Replacing): Change {
  const { entry, previous, deleted } = event
  const { key, value, modified: revision } = entry
  if (isCreate(event)) return { type: "create", key, revision, value }
  const before = previous === undefined ? {} : { previous: previous.value }
  if (deleted) return { type: "delete", key, revision, ...before }
  return { type: "update", key, revision, value, ...before }
}
