/** An object that one server makes of itself, against any other writer. */
import { isKnown } from "../errors.ts"
import type { KubeObject } from "../format/object.ts"
import type { Registry, Stored } from "../registry/registry.ts"
import { isUnreadable } from "../registry/view.ts"
import { type Kind, type Ref, storageKey } from "../registry/resource.ts"

export interface OwnObject {
  readonly kind: Kind
  readonly ref: Ref
  /** What it is to be, of what it was. */
  readonly make: (before: KubeObject | undefined) => KubeObject
}

/** Returns it as it was before. */
export async function writeOwn(
  registry: Registry,
  { kind, ref, make }: OwnObject,
): Promise<KubeObject | undefined> {
  for (;;) {
    try {
      const stored = await readable(registry, kind, ref)
      const object = make(stored?.object)
      await (stored ? registry.replace(stored, object) : registry.create(kind, ref, object))
      return stored?.object
    } catch (error) {
      if (!isKnown(error, "Conflict", "AlreadyExists")) throw error
    }
  }
}

/** One that does not open is deleted: all that is ours in it can be made anew, and it would keep the server from starting. */
async function readable(registry: Registry, kind: Kind, ref: Ref): Promise<Stored | undefined> {
  try {
    return await registry.get(kind, ref)
  } catch (error) {
    if (!isUnreadable(error)) throw error
    await removeObject(registry, kind, ref)
    return undefined
  }
}

/** Deletes it, whatever it holds now. */
export async function removeObject(registry: Registry, kind: Kind, ref: Ref): Promise<void> {
  const revision = await registry.revisionOf(kind, ref)
  if (revision !== undefined) await registry.remove({ key: storageKey(kind, ref), revision })
}
