/** How Kubernetes reads a stored value with a list of providers (apiserver, storage/value/transformer.go): the first
 *  that fits the value's prefix *and* opens it wins; what any but the first opened is stale. The first one writes.
 *  Unlike there, one that opens it to an object wins over an earlier one that opens it to anything else. */

import { isKnown, KnownError } from "../errors.ts"
import { describeValue, hasPrefix, isObject } from "../format/value.ts"
import type { Provider } from "./provider.ts"

export interface Opened {
  readonly plaintext: Buffer
  /** The value is to be written again, under the first provider. */
  readonly stale: boolean
}

/** Throws KeyDidNotOpen, ValueCorrupt. */
export function openStored(providers: readonly Provider[], stored: Buffer, aad: string): Opened {
  const failures: KnownError[] = []
  let doubtful: Opened | undefined
  for (const provider of providers) {
    if (!hasPrefix(stored, provider.prefix)) continue
    try {
      const plaintext = provider.open(stored, aad)
      const opened = { plaintext, stale: provider !== providers[0] }
      if (isObject(plaintext)) return opened
      doubtful ??= opened
    } catch (error) {
      if (!isKnown(error)) throw error
      failures.push(error)
    }
  }
  if (doubtful !== undefined) return doubtful
  throw failures.length === 0 ? noMatch(providers, stored) : reduced(failures)
}

/** One error for several providers that share a prefix; a key that did not fit weighs more than damage. */
function reduced(failures: readonly KnownError[]): KnownError {
  const [first, ...others] = failures
  if (first && others.length === 0) return first
  const code = failures.some((error) => error.code === "KeyDidNotOpen")
    ? "KeyDidNotOpen"
    : "ValueCorrupt"
  return new KnownError(code, failures.map((error) => error.message).join("; "))
}

/** No key's prefix stands in it: it may be stored, where a search for what a key left behind would find it. */
function noMatch(providers: readonly Provider[], stored: Buffer): KnownError {
  return new KnownError("KeyDidNotOpen", `${missing(providers, stored)}: ${describeValue(stored)}`)
}

/** Kubernetes' words. */
function missing(providers: readonly Provider[], stored: Buffer): string {
  const related = providers
    .map(({ prefix }) => /^k8s:enc:([^:]+):[^:]+:/.exec(prefix.toString()))
    .find((family) => family && stored.toString("latin1", 0, family[0].length) === family[0])
  if (!related) return "no matching prefix found"
  const transformer = related[1] === "secretbox" ? "Secretbox" : "AES"
  return `no matching key was found for the provided ${transformer} transformer`
}
