/** What one keyring means for values: which key seals, which open, and under which fence. A view never changes; a change of
 *  the keyring makes a new one. Transformer is Kubernetes' word for this. */
import { bug, isKnown, KnownError, within } from "../errors.ts"
import { hasPrefix, isEncrypted, isObject, prefixOf } from "../format/value.ts"
import { type Keyring, writingKey } from "../keyring/keyring.ts"
import type { OpenRecord } from "../keyring/record.ts"
import { identity } from "../providers/identity.ts"
import { makeProvider } from "../providers/make.ts"
import type { Provider } from "../providers/provider.ts"
import { openStored } from "../providers/transform.ts"
import { isCounted } from "../rotation/usage.ts"
import { covers, resourceOfKey } from "./resource.ts"

export interface View {
  /** Where the record stood in the datastore; opaque. */
  readonly version: string
  readonly record: OpenRecord
  /** The key whose seals are to be counted; undefined where those of the one that writes are not, and where none writes. */
  readonly counted: string | undefined
  /** The fence that a write at `key` commits under; undefined where the kind is not encrypted. */
  fenceOf(key: string): string | undefined
  /** Sealed for `key`, or as it is where the kind is not encrypted; `fence` must hold as it is written. */
  seal(key: string, plaintext: Buffer): { value: Buffer; fence: string | undefined }
  /** `stale`: the next write of the same bytes would be stored otherwise. `changedAt`: the revision of the change that told of
   *  the value; absent: it is what stands there. Throws what {@link isUnreadable} knows, with the name of the object. */
  open(key: string, stored: Buffer, changedAt?: number): { plaintext: Buffer; stale: boolean }
  /** The provider of the key `name`, archived ones too; null: identity. */
  provider(name: string | null): Provider
  /** Whether values at `key` are to be encrypted while a key writes. */
  covers(key: string): boolean
}

export function makeView(record: OpenRecord, version: string): View {
  const { keyring, fence } = record
  const providers = new Map(keyring.keys.map((key) => [key.name, makeProvider(key)]))
  const writer = writingKey(keyring)
  const writing = (writer && providers.get(writer.name)) ?? identity
  const others = [...providers.values()].filter((provider) => provider !== writing)
  const encrypted: readonly Provider[] =
    writing === identity ? [identity, ...others] : [writing, ...others, identity]
  const plain: readonly Provider[] = [identity, ...providers.values()]
  const isCovered = memoized(keyring.resources)
  const { proven } = keyring
  /** What was told up to the proof may have been plain text then, and is remembered so. */
  const isRefused = (key: string, stored: Buffer, changedAt: number = NOW) =>
    writing !== identity &&
    proven !== null &&
    changedAt > proven &&
    !isEncrypted(stored) &&
    isCovered(key)
  const fenceOf = (key: string) => (isCovered(key) ? fence : undefined)
  return {
    version,
    record,
    counted: writer && isCounted(writer.provider) ? writer.name : undefined,
    covers: isCovered,
    fenceOf,
    seal: (key, plaintext) => ({
      value: isCovered(key) ? writing.seal(plaintext, key) : plaintext,
      fence: fenceOf(key),
    }),
    open(key, stored, changedAt) {
      if (isRefused(key, stored, changedAt)) throw plaintextRefused(key)
      try {
        return openStored(isCovered(key) ? encrypted : plain, stored, key)
      } catch (error) {
        if (!isKnown(error)) throw error
        const gone = keyring.destroyed.find((one) => hasPrefix(stored, prefixOf(one)))
        if (gone === undefined) throw within(key, error)
        const seen = `the value is under the ${gone.provider} key "${gone.name}", which was destroyed at ${gone.destroyed}`
        throw new KnownError("KeyDestroyed", `${key}: ${seen}`, { cause: error })
      }
    },
    provider: (name) =>
      name === null ? identity : (providers.get(name) ?? bug(`no key "${name}" in this keyring`)),
  }
}

/** Of keys that stand in no datastore's record. */
export const viewOfKeys = (keyring: Keyring): View =>
  makeView({ epoch: 0, fence: "", slots: [], keyring }, "")

/** As {@link View.open}, for whoever does not decode what it gives. Throws ValueCorrupt where that is no object: AES-CBC opens one
 *  value in 256 under a wrong key, and what it opens to, sealed anew, could never be opened right again. */
export function openObject(view: Pick<View, "open">, key: string, stored: Buffer): Buffer {
  const { plaintext } = view.open(key, stored)
  if (isObject(plaintext)) return plaintext
  throw new KnownError("ValueCorrupt", `${key}: what opened is no Kubernetes object`)
}

const NOW = Number.POSITIVE_INFINITY

const plaintextRefused = (key: string): KnownError =>
  new KnownError(
    "PlaintextRefused",
    `${key}: the value is plain text, put there after all had been proven to be encrypted`,
  )

/** Of a value that cannot be read as it stands. */
export const isUnreadable = (error: unknown): error is KnownError =>
  isKnown(
    error,
    "KeyDidNotOpen",
    "KeyDestroyed",
    "ValueCorrupt",
    "ObjectInvalid",
    "PlaintextRefused",
  )

/** One answer for each resource, for the question is asked at every read and write. */
function memoized(resources: readonly string[]): (key: string) => boolean {
  const known = new Map<string | undefined, boolean>()
  return (key) => {
    const resource = resourceOfKey(key)
    const answer = known.get(resource) ?? covers(resources, resource)
    known.set(resource, answer)
    return answer
  }
}
