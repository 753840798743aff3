/** What the API sees: plain objects, put, read, listed and watched. The only room that holds both plaintext and the store. It
 *  owns the fence: a write that another keyring has overtaken is sealed again and retried here, out of the API's sight. */
import { isKnown, KnownError, within } from "../errors.ts"
import { decodeObject, encodeObject } from "../format/codec.ts"
import type { KubeObject } from "../format/object.ts"
import type { Unreadable } from "../rotation/operation.ts"
import type { Change, Entry, Store, Update, WatchOptions, WriteResult } from "../store/store.ts"
import { type Contents, contentsOf } from "./contents.ts"
import type { Keys } from "./keys.ts"
import { type Kind, namespacePrefix, type Ref, storageKey } from "./resource.ts"
import { isUnreadable, type View } from "./view.ts"

/** An object as it is stored, with the bytes that an update must carry on. One may be given to many: never mutate it. */
export interface Stored {
  readonly object: KubeObject
  readonly key: string
  readonly revision: number
  /** Under another key than new writes, so that writing the same object again is not in vain. */
  readonly stale: boolean
  readonly plaintext: Buffer
  /** The same one is given at the next reads too, as long as it does not change. */
  readonly isKept?: true
}

export interface ObjectPage {
  readonly items: Stored[]
  /** What stands between them and does not open, where the list was to leave that out; in its order. */
  readonly unreadable: readonly Unreadable[]
  /** Key of the last object, whether it opened or not; undefined: none is left. */
  readonly last: string | undefined
  readonly revision: number
  /** Objects beyond this page at the same revision. */
  readonly remaining: number
}

export interface ListRange {
  readonly namespace?: string | undefined
  /** The key that the page before ended with. */
  readonly after?: string
  readonly limit?: number
  readonly revision?: number
  /** What does not open is left out and told; else the list fails with the first of it. */
  readonly leavesOut?: boolean
}

export interface ObjectEvent {
  readonly type: "create" | "update" | "delete"
  readonly key: string
  readonly revision: number
  /** What the object is now; for a delete what it was, with the revision of the delete. */
  readonly object: KubeObject
  /** What it was before; undefined for a create. */
  readonly previous: KubeObject | undefined
}

/** What another keyring may read, or the same place by now hold otherwise. */
const AGAIN = ["KeyDidNotOpen", "KeyDestroyed", "PlaintextRefused"] as const

/** A keyring cannot change this often between two attempts at one write. */
const ATTEMPTS_MAX = 20

export class Registry {
  readonly #store: Store
  readonly #keys: Keys
  /** One change reaches many watchers and is opened once. It holds no stored bytes of its own. */
  readonly #events = new WeakMap<Change, ObjectEvent>()
  /** An entry that the store gives out again and again is opened no more, as long as the keyring stays the same. Not from the first
   *  time on, which leaves `undefined`: what a WeakMap holds is promoted by V8's young collections, though nobody has its key any more. */
  readonly #read = new WeakMap<
    Entry,
    { readonly view: View; readonly stored: Stored } | undefined
  >()

  constructor(store: Store, keys: Keys) {
    this.#store = store
    this.#keys = keys
  }

  async get(kind: Kind, ref: Ref, revision?: number): Promise<Stored | undefined> {
    const key = storageKey(kind, ref)
    const read = () => this.#store.get(key, revision)
    const entry = await read()
    if (entry === undefined) return undefined
    const known = this.#read.get(entry)
    if (known?.view === this.#keys.view) return known.stored
    const stored = this.#open(entry)
    if (stored === undefined) return this.#openAgain(read)
    const kept = this.#read.has(entry) ? ({ ...stored, isKept: true } as const) : undefined
    this.#read.set(entry, kept && { view: this.#keys.view, stored: kept })
    return kept ?? stored
  }

  /** Where an entry stands, without opening it; for what does not open. */
  async revisionOf(kind: Kind, ref: Ref): Promise<number | undefined> {
    return (await this.#store.get(storageKey(kind, ref)))?.revision
  }

  async list(kind: Kind, range: ListRange): Promise<ObjectPage> {
    const { namespace, leavesOut = false, ...rest } = range
    const page = await this.#store.list({ prefix: namespacePrefix(kind, namespace), ...rest })
    const items: Stored[] = []
    const unreadable: Unreadable[] = []
    for (const entry of page.entries) {
      const again = () => this.#store.get(entry.key, page.revision)
      try {
        const stored = this.#open(entry) ?? (await this.#openAgain(again))
        if (stored !== undefined) items.push(stored)
      } catch (error) {
        if (!leavesOut || !isUnreadable(error)) throw error
        unreadable.push({ key: entry.key, why: error.message })
      }
    }
    const { revision, remaining } = page
    return { items, unreadable, last: page.entries.at(-1)?.key, revision, remaining }
  }

  /** What a namespace holds, served here or not, by the prefix of its kind. */
  contents(namespace: string): Promise<Contents[]> {
    return contentsOf(this.#store, namespace)
  }

  revision(): Promise<number> {
    return this.#store.revision()
  }

  compactedRevision(): Promise<number> {
    return this.#store.compactedRevision()
  }

  /** Throws AlreadyExists. */
  async create(kind: Kind, ref: Ref, object: KubeObject, ttlSeconds = 0): Promise<KubeObject> {
    const key = storageKey(kind, ref)
    const plaintext = encodeObject(withoutRevision(object))
    const result = await this.#write(key, plaintext, (sealed) =>
      this.#store.create({ key, ...sealed, ttlSeconds }),
    )
    if (result.outcome === "done") return atRevision(decodeObject(plaintext), result.revision)
    throw new KnownError("AlreadyExists", `${key} exists already`)
  }

  /** Replaces what was read as `stored`; the same object under the current key is not written again. Throws Conflict, also
   *  where the object is gone. */
  async replace(stored: Stored, object: KubeObject, ttlSeconds = 0): Promise<KubeObject> {
    const { key, revision: expected } = stored
    const plaintext = encodeObject(withoutRevision(object), { unknownFrom: stored.plaintext })
    if (!stored.stale && plaintext.equals(stored.plaintext)) return stored.object
    return this.#update({ key, expected, ttlSeconds }, plaintext)
  }

  /** Puts the object in the place of one that does not open. Throws Conflict where that is gone, or opens by now. */
  async replaceUnreadable(kind: Kind, ref: Ref, object: KubeObject): Promise<KubeObject> {
    const key = storageKey(kind, ref)
    await this.#keys.refresh()
    const entry = await this.#store.get(key)
    if (entry === undefined || this.#opens(entry))
      throw new KnownError("Conflict", `${key} is gone or opens by now`)
    return this.#update({ key, expected: entry.revision }, encodeObject(withoutRevision(object)))
  }

  /** Returns the revision of the delete. Throws Conflict. */
  async remove({ key, revision: expected }: { key: string; revision: number }): Promise<number> {
    const result = await this.#fenced(() =>
      this.#store.delete({ key, expected, fence: this.#keys.view.fenceOf(key) }),
    )
    if (result.outcome === "done") return result.revision
    throw new KnownError("Conflict", `${key} is not at revision ${expected} any more`)
  }

  /** Events above `after`, in order. Throws Compacted, SlowWatcher, and what isUnreadable knows for an event that does not
   *  open. */
  async *watch(
    kind: Kind,
    from: Omit<WatchOptions, "prefix"> & { namespace?: string | undefined },
  ): AsyncGenerator<readonly ObjectEvent[]> {
    const { namespace, ...options } = from
    for await (const batch of this.#store.watch({
      prefix: namespacePrefix(kind, namespace),
      ...options,
    })) {
      const events: ObjectEvent[] = []
      for (const change of batch) {
        const known = this.#events.get(change) ?? (await this.#event(change))
        this.#events.set(change, known)
        events.push(known)
      }
      yield events
    }
  }

  async #update(
    where: Pick<Update, "key" | "expected" | "ttlSeconds">,
    plaintext: Buffer,
  ): Promise<KubeObject> {
    const { key, expected } = where
    const result = await this.#write(key, plaintext, (sealed) =>
      this.#store.update({ ...where, ...sealed }),
    )
    if (result.outcome === "done") return atRevision(decodeObject(plaintext), result.revision)
    throw new KnownError("Conflict", `${key} is not at revision ${expected} any more`)
  }

  #opens(entry: Entry): boolean {
    try {
      this.#opened(entry)
      return true
    } catch (error) {
      if (isUnreadable(error)) return false
      throw error
    }
  }

  /** Undefined where the keyring may be behind, or the value was read before it was rewritten: then the keyring and the value are to be read again, once. */
  #open(entry: Entry): Stored | undefined {
    try {
      return this.#opened(entry)
    } catch (error) {
      if (isKnown(error, ...AGAIN)) return undefined
      throw error
    }
  }

  async #openAgain(read: () => Promise<Entry | undefined>): Promise<Stored | undefined> {
    await this.#keys.refresh()
    const entry = await read()
    return entry && this.#opened(entry)
  }

  #opened({ key, value, revision }: Entry): Stored {
    const { plaintext, stale } = this.#keys.view.open(key, value)
    return {
      object: atRevision(decoded(key, plaintext), revision),
      key,
      revision,
      stale,
      plaintext,
    }
  }

  async #event(change: Change): Promise<ObjectEvent> {
    const { type, key, revision } = change
    const decode = async (stored: Buffer | undefined) => {
      if (stored === undefined) return undefined
      const open = () => decoded(key, this.#keys.view.open(key, stored, revision).plaintext)
      try {
        return open()
      } catch (error) {
        if (!isKnown(error, ...AGAIN)) throw error
        await this.#keys.refresh()
        return open()
      }
    }
    const previous = await decode(change.previous)
    const now = change.type === "delete" ? previous : await decode(change.value)
    if (now === undefined)
      throw new KnownError("ValueCorrupt", `${key}: a deleted row without its last value`)
    return { type, key, revision, object: atRevision(now, revision), previous }
  }

  /** Seals and writes under the fence. */
  #write(
    key: string,
    plaintext: Buffer,
    commit: (sealed: { value: Buffer; fence: string | undefined }) => Promise<WriteResult>,
  ): Promise<Written> {
    return this.#fenced(async () => commit((await this.#counting(key)).seal(key, plaintext)))
  }

  /** The view to seal one value with, which is counted. */
  async #counting(key: string): Promise<View> {
    for (;;) {
      const { view, writes } = this.#keys
      if (view.counted === undefined || !view.covers(key) || writes.take(view.counted)) return view
      await writes.reserve(view.counted)
    }
  }

  /** Fenced off, it reads the keyring again and retries. */
  async #fenced(commit: () => Promise<WriteResult>): Promise<Written> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const result = await commit()
      if (result.outcome !== "fenced") return result
      await this.#keys.refresh()
    }
    throw new KnownError("RecordCorrupt", "the fence in the datastore is not the keyring's")
  }
}

type Written = Exclude<WriteResult, { outcome: "fenced" }>

/** Throws ValueCorrupt and ObjectInvalid with the name of the object. */
function decoded(key: string, plaintext: Buffer): KubeObject {
  try {
    return decodeObject(plaintext)
  } catch (error) {
    throw within(key, error)
  }
}

/** What a write of `object` would answer, without the write. */
export const asStored = (object: KubeObject, revision?: number): KubeObject => {
  const stored = decodeObject(encodeObject(withoutRevision(object)))
  return revision === undefined ? stored : atRevision(stored, revision)
}

/** A resourceVersion is where an object lies, and never stored in it. */
function withoutRevision(object: KubeObject): KubeObject {
  if (object.metadata.resourceVersion === undefined) return object
  const { resourceVersion: _, ...metadata } = object.metadata
  return { ...object, metadata }
}

/** The metadata's fields that stand before resourceVersion in Kubernetes' JSON. */
const BEFORE: ReadonlySet<string> = new Set([
  "name",
  "generateName",
  "namespace",
  "selfLink",
  "uid",
])

/** The object with its resourceVersion, in its place. Only the path to it is copied. */
export function atRevision(object: KubeObject, revision: number): KubeObject {
  const metadata: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(object.metadata)) {
    if (!BEFORE.has(name)) metadata.resourceVersion ??= String(revision)
    metadata[name] = value
  }
  metadata.resourceVersion = String(revision)
  return { ...object, metadata }
}
