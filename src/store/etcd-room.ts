/** Room in etcd's database. What was replaced stays in it until it is compacted, and past its quota (2 GiB unless told otherwise)
 *  etcd takes no more writes: a rewrite of all values must not double what lies in it. */
import type { WatchBatch } from "./etcd-watch.ts"

/** So much of history is kept at the least, for lists and watches that go on from before; twice that is the most. */
const KEPT_BYTES = 64 << 20

/** Which history is to be forgotten for its size alone, by the events that one store is told of. */
export class Room {
  #bytes = 0
  /** The newest revision as the last stretch of {@link KEPT_BYTES} ended. */
  #ended: number | undefined

  /** The revision up to which history is more than is kept; undefined: it is not. Never one that was not told. */
  told({ events, upTo }: WatchBatch): number | undefined {
    // What is created replaces nothing, what is replaced is about as long as what does, and a deletion does not say how long.
    for (const { entry } of events)
      if (entry.created !== entry.modified) this.#bytes += entry.key.length + entry.value.length
    if (this.#bytes < KEPT_BYTES) return undefined
    const before = this.#ended
    this.restart(upTo)
    return before
  }

  /** Before an older state was put back. */
  restart(ended?: number): void {
    this.#bytes = 0
    this.#ended = ended
  }
}
