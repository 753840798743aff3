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

/** Returns it as it was before; undefined also for one that did not open. That one is replaced where it lies: all that is ours in
 *  it can be made anew, and it would keep the server from starting. To delete it, be it for a moment, would say that the server
 *  has left: whoever sees a Node go takes its server's etcd member away. */
export async function writeOwn(
  registry: Registry,
  { kind, ref, make }: OwnObject,
): Promise<KubeObject | undefined> {
  for (;;) {
    try {
      const stored = await read(registry, kind, ref)
      const before = stored === "unreadable" ? undefined : stored?.object
      const object = make(before)
      if (stored === "unreadable") await registry.replaceUnreadable(kind, ref, object)
      else if (stored === undefined) await registry.create(kind, ref, object)
      else await registry.replace(stored, object)
      return before
    } catch (error) {
      if (!isKnown(error, "Conflict", "AlreadyExists")) throw error
    }
  }
}

async function read(
  registry: Registry,
  kind: Kind,
  ref: Ref,
): Promise<Stored | "unreadable" | undefined> {
  try {
    return await registry.get(kind, ref)
  } catch (error) {
    if (isUnreadable(error)) return "unreadable"
    throw error
  }
}

/** Deletes it, whatever it holds now. */
export async function removeObject(registry: Registry, kind: Kind, ref: Ref): Promise<void> {
  const key = storageKey(kind, ref)
  for (;;) {
    const revision = await registry.revisionOf(kind, ref)
    if (revision === undefined) return
    try {
      await registry.remove({ key, revision })
      return
    } catch (error) {
      if (!isKnown(error, "Conflict")) throw error
    }
  }
}
