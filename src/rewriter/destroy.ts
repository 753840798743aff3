/** Destroys a key: proves that nothing stored needs it, takes its bytes out of the keyring under the fence of the proof, and
 *  clears what the datastore's files may still hold of the keyring before. */
import { bug } from "../errors.ts"
import type { DestroyedKey } from "../keyring/keyring.ts"
import type { Keys } from "../registry/keys.ts"
import { alreadyDestroyed, destroyed } from "../rotation/destroy.ts"
import type { HistoryEntry } from "../rotation/history.ts"
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

/** Where it was destroyed before, the clearing alone, if that is still due. Throws NotFound, KeyNotArchived, KeyInUse: nothing
 *  is changed then; and StoreUnavailable, also after the key is destroyed. */
export async function destroyKey(parts: Destroy, name: string): Promise<Destroyed> {
  const { keys, store } = parts
  let done = before((await keys.refresh()).record.keyring, name)
  // Where a history is kept, clients may read values of it that live ones do not tell of.
  if (done === undefined) await store.scrub()
  while (done === undefined) done = await proveAndDestroy(parts, name)
  const stands = `the key "${name}" is destroyed, but the datastore's files may still hold an earlier keyring`
  await keys.scrubAfter(`${stands}; the server tries again by itself to clear them`)
  return done
}

function before(...observed: Parameters<typeof alreadyDestroyed>): Destroyed | undefined {
  const key = alreadyDestroyed(...observed)
  return key && { key, isNew: false }
}

/** Undefined where the writing key was changed meanwhile: the proof holds under its own fence only. */
async function proveAndDestroy(
  { store, keys, entry, now }: Destroy,
  name: string,
): Promise<Destroyed | undefined> {
  const view = await keys.refresh()
  const known = before(view.record.keyring, name)
  if (known !== undefined) return known
  const under = (await census(store, view)).keys.get(name) ?? bug(`"${name}" was not counted`)
  const changed = await keys.change("destroy-key", ({ record: { fence, keyring } }) => {
    if (fence !== view.record.fence || before(keyring, name) !== undefined) return undefined
    return { keyring: destroyed(keyring, { name, under, now: now() }), scrubs: true, entry }
  })
  const key = changed && alreadyDestroyed(changed.view.record.keyring, name)
  return key && { key, isNew: true }
}
