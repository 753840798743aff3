/** Keeps what a server has of the keyring up to date, whoever changed it: the keys in use, its slot, the token, and what it
 *  shows. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Logger } from "pino"
import { type DataDirPaths, writeToken } from "../cluster/data-dir.ts"
import { tokenFor } from "../cluster/unlock.ts"
import { isDestroyed, type Key, withKeysTakenIn } from "../keyring/keyring.ts"
import type { OpenRecord } from "../keyring/record.ts"
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

/** Runs until the signal. A keyring that is older than the one that was followed is one of a backup that came back. */
export async function followKeyring(parts: FollowParts): Promise<void> {
  const { store, signal } = parts
  const changes = store.watchRecords(signal)[Symbol.asyncIterator]()
  let followed = parts.keys.view.record
  // Asked for before the first look, so that no change comes between.
  for (let change = changes.next(); !signal.aborted; change = changes.next()) {
    followed = (await untilFollowed(parts, followed)) ?? followed
    if ((await change).done) return
  }
}

/** Returns the keyring that is followed now; undefined at the signal. */
async function untilFollowed(
  parts: FollowParts,
  before: OpenRecord,
): Promise<OpenRecord | undefined> {
  let told = ""
  while (!parts.signal.aborted) {
    try {
      return await follow(parts, before)
    } catch (error) {
      // Whatever it is: who stopped here would miss a change of the keys.
      const seen = String(error)
      if (seen !== told)
        parts.log.warn({ err: error }, "cannot follow the keyring; tried again until it can")
      told = seen
      await sleep(RETRY_MS, undefined, { signal: parts.signal }).catch(() => {})
    }
  }
  return undefined
}

async function follow(parts: FollowParts, before: OpenRecord): Promise<OpenRecord> {
  const { keys, publisher, paths, server, now, log } = parts
  const { record } = await keys.refresh()
  const takenIn = await takeIn(keys, before.keyring.keys)
  if (record.epoch < before.epoch || takenIn.length > 0)
    log.warn(
      { epoch: record.epoch, before: before.epoch, takenIn },
      "an older keyring came back in the datastore: it is adopted; keys that it lacked are taken in, for reading",
    )
  await keys.enroll(server, { now: now() })
  // Not the token beside it: a change that is under way here needs both.
  writeToken(paths, tokenFor(keys.view.record.keyring))
  await publisher.follow()
  return keys.view.record
}

/** What was written under a key that this server alone may still have must stay readable. Returns the keys' names. */
async function takeIn(keys: Keys, known: readonly Key[]): Promise<string[]> {
  const missing = ({ keyring }: OpenRecord) =>
    known.filter(
      ({ name }) => !isDestroyed(keyring, name) && keyring.keys.every((key) => key.name !== name),
    )
  const names = missing(keys.view.record).map(({ name }) => name)
  if (names.length > 0)
    await keys.change("take-in-keys", ({ record }) =>
      missing(record).length === 0
        ? undefined
        : { keyring: withKeysTakenIn(record.keyring, missing(record)) },
    )
  return names
}
