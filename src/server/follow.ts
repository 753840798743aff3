/** Keeps what a server has of the keyring up to date, whoever changed it: the keys in use, its slot, the token, and what it
 *  shows. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Logger } from "pino"
import { type DataDirPaths, writeToken } from "../cluster/data-dir.ts"
import { tokenFor } from "../cluster/unlock.ts"
import { isKnown } from "../errors.ts"
import type { Keys } from "../registry/keys.ts"
import type { Store } from "../store/store.ts"
import type { Publisher } from "./publish.ts"

export interface FollowParts {
  readonly store: Store
  readonly keys: Keys
  readonly publisher: Publisher
  readonly paths: DataDirPaths
  /** This server's name. */
  readonly server: string
  readonly now: () => Date
  readonly log: Pick<Logger, "warn">
  readonly signal: AbortSignal
}

const RETRY_MS = 1_000

/** Runs until the signal. */
export async function followKeyring(parts: FollowParts): Promise<void> {
  const { store, signal } = parts
  const changes = store.watchRecords(signal)[Symbol.asyncIterator]()
  // Asked for before the first look, so that no change comes between.
  for (let change = changes.next(); !signal.aborted; change = changes.next()) {
    await untilFollowed(parts)
    if ((await change).done) return
  }
}

async function untilFollowed(parts: FollowParts): Promise<void> {
  let told = ""
  while (!parts.signal.aborted) {
    try {
      return await follow(parts)
    } catch (error) {
      if (!isKnown(error)) throw error
      if (error.message !== told)
        parts.log.warn({ err: error }, "cannot follow the keyring; tried again until it can")
      told = error.message
      await sleep(RETRY_MS, undefined, { signal: parts.signal }).catch(() => {})
    }
  }
}

async function follow({ keys, publisher, paths, server, now }: FollowParts): Promise<void> {
  await keys.refresh()
  await keys.enroll(server, { now: now() })
  // Not the token beside it: a change that is under way here needs both.
  writeToken(paths, tokenFor(keys.view.record.keyring))
  await publisher.follow()
}
