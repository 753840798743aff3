/** Destroys a key: proves that nothing stored needs it, takes its bytes out of the keyring under the fence of the proof, and
 *  clears what the datastore's files may still hold of the keyring before. */
import { bug, KnownError, within } from "../errors.ts"
import type { DestroyedKey } from "../keyring/keyring.ts"
import type { Keys } from "../registry/keys.ts"
import type { View } from "../registry/view.ts"
import { alreadyDestroyed, destroyed, type Under } from "../rotation/destroy.ts"
import type { HistoryEntry } from "../rotation/history.ts"
import { describeOperation, isRunning } from "../rotation/operation.ts"
import type { Store } from "../store/store.ts"
import { census } from "./census.ts"

export interface Destroy {
  readonly store: Store
  readonly keys: Keys
  /** Written with the key's end. */
  readonly entry: HistoryEntry
  readonly now: () => Date
}

export interface Destroyed {
  readonly key: DestroyedKey
  /** Whether this call did it. */
  readonly isNew: boolean
}

/** Where it was destroyed before, the clearing alone, if that is still due. Throws NotFound, KeyNotArchived, KeyInUse,
 *  RotationUnderWay: nothing is changed then; and StoreUnavailable, also after the key is destroyed. */
export async function destroyKey(
  { store, keys, entry, now }: Destroy,
  name: string,
): Promise<Destroyed> {
  let isNew = false
  for (let view = await keys.refresh(); ; ) {
    const key = alreadyDestroyed(view.record.keyring, name)
    if (key !== undefined) {
      const stands = `the key "${name}" is destroyed, but the datastore's files may still hold an earlier keyring`
      await keys.scrubAfter(`${stands}; the server tries again by itself to clear them`)
      return { key, isNew }
    }
    // A rewrite changes values whose copies are still on their way, where no count finds them. One that begins later moves the fence.
    const operation = await keys.operation()
    if (isRunning(operation)) throw new KnownError("RotationUnderWay", describeOperation(operation))
    const under = await countedAndCleared(store, view, name)
    const changed = await keys.change("destroy-key", ({ record: { fence, keyring } }) => {
      if (fence !== view.record.fence) return undefined
      const after = destroyed(keyring, { name, under, now: now() })
      return after === keyring ? undefined : { keyring: after, scrubs: true, entry }
    })
    isNew ||= changed !== undefined
    view = changed?.view ?? (await keys.refresh())
  }
}

async function countedAndCleared(store: Store, view: View, name: string): Promise<Under> {
  try {
    const under = (await census(store, view)).keys.get(name) ?? bug(`"${name}" was not counted`)
    // What history holds under the key was replaced before the count, and clients may read it until it is cleared.
    if (under.stored === 0) await store.scrub([view.provider(name).prefix])
    return under
  } catch (error) {
    throw within(`the key "${name}" is not destroyed`, error)
  }
}
