/** Following etcd's history: whole revisions, in order, none twice, none missing. */
import { KnownError } from "../errors.ts"
import type { EtcdChannel } from "./etcd-channel.ts"
import { decodeWatch, encodeWatch, type KeySpan, type WatchEvent } from "./etcd-messages.ts"
import type { Change } from "./store.ts"

/** History up to `revision` was compacted before it was told. */
export class HistoryGone extends Error {
  readonly revision: number

  constructor(revision: number) {
    super(`history begins at ${revision}`)
    this.revision = revision
  }
}

export interface WatchBatch {
  /** Empty where nothing happened up to `upTo`. */
  readonly events: readonly WatchEvent[]
  readonly upTo: number
}

/** Every event of a range after a revision. Throws {@link HistoryGone}; KnownError StoreUnavailable where the stream
 *  ended, to be taken up where the last batch ended. */
export async function* watchRange(
  channel: EtcdChannel,
  { range, after, signal }: { range: KeySpan; after: number; signal: AbortSignal },
): AsyncGenerator<WatchBatch> {
  let events: WatchEvent[] = []
  let upTo = after
  const request = encodeWatch(range, after)
  for await (const message of channel.stream("/etcdserverpb.Watch/Watch", request, signal)) {
    const answer = decodeWatch(message)
    if (answer.compacted > 0) throw new HistoryGone(answer.compacted)
    if (answer.canceled)
      throw new KnownError("StoreUnavailable", `${channel.where}: watch ended: ${answer.reason}`)
    if (answer.created) continue
    events.push(...answer.events)
    if (answer.fragment) continue
    // A compaction overtook it: what this replaced is gone, though the event itself is still there.
    const orphan = events.find((event) => !isCreate(event) && event.previous === undefined)
    if (orphan !== undefined) throw new HistoryGone(orphan.entry.modified)
    // A member that lags behind the others tells of an older revision where nothing happened.
    upTo = Math.max(upTo, events.at(-1)?.entry.modified ?? answer.revision)
    yield { events, upTo }
    events = []
  }
}

const isCreate = ({ deleted, entry }: WatchEvent): boolean =>
  !deleted && entry.created === entry.modified

export function changeOf(event: WatchEvent): Change {
  const { entry, previous, deleted } = event
  const { key, value, modified: revision } = entry
  if (isCreate(event)) return { type: "create", key, revision, value }
  const before = previous === undefined ? {} : { previous: previous.value }
  if (deleted) return { type: "delete", key, revision, ...before }
  return { type: "update", key, revision, value, ...before }
}
