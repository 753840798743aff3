/** The usage record: how many values were sealed under each key whose writes are counted. It holds no secret and lies in the
 *  datastore as JSON; names are stored, never rename one. */
import { isRecord } from "../format/schema.ts"
import type { KeyProvider } from "../providers/provider.ts"
import { hasShape, isCount, isText, parsed, type Shape } from "./shape.ts"

/** AES-GCM's nonces are random and have 96 bits, so a key is good for so many of them (NIST SP 800-38D §8.3). AES-CBC's and
 *  secretbox's keys do not wear out by being used. */
export const isCounted = (provider: KeyProvider): boolean => provider === "aesgcm"

/** Seals reserved under one key: what was sealed, and what may be by a server that reserved more than it used. */
export interface Seals {
  readonly clients: number
  /** Of these a rotation makes as many as there are stored values, however few the clients write. */
  readonly rewriting: number
}

/** By the name of the key. */
export type Usage = ReadonlyMap<string, Seals>

export const NO_SEALS: Seals = { clients: 0, rewriting: 0 }

export const sealsOf = (usage: Usage, name: string): Seals => usage.get(name) ?? NO_SEALS

export const totalOf = ({ clients, rewriting }: Seals): number => clients + rewriting

/** The usage after one more reservation. */
export function withSeals(usage: Usage, name: string, more: Partial<Seals>): Usage {
  const { clients, rewriting } = sealsOf(usage, name)
  const seals = {
    clients: clients + (more.clients ?? 0),
    rewriting: rewriting + (more.rewriting ?? 0),
  }
  return new Map([...usage, [name, seals]])
}

/** The larger count of each: a record that came back from a backup does not know of seals that were made since. */
export function larger(one: Usage, other: Usage): Usage {
  const most = (name: string, of: keyof Seals) =>
    Math.max(sealsOf(one, name)[of], sealsOf(other, name)[of])
  const names = new Set([...one.keys(), ...other.keys()])
  return new Map(
    Array.from(names, (name) => [
      name,
      { clients: most(name, "clients"), rewriting: most(name, "rewriting") },
    ]),
  )
}

/** `id` is new each time: equal bytes of two servers, put at one version, could be taken for the same reservation. */
export const encodeUsage = (usage: Usage, id: string): Buffer =>
  Buffer.from(
    JSON.stringify({ id, keys: Array.from(usage, ([name, seals]) => ({ name, ...seals })) }),
  )

/** What is damaged counts as nothing: it stops nobody, and each server still knows what it knew. */
export function decodeUsage(stored: Buffer): Usage {
  const value = parsed(stored)
  const keys: unknown[] = isRecord(value) && Array.isArray(value.keys) ? value.keys : []
  return new Map(
    keys.flatMap((of): [string, Seals][] => {
      if (!hasShape<NamedSeals>(SHAPE, of)) return []
      const { name, clients, rewriting } = of
      return [[name, { clients, rewriting }]]
    }),
  )
}

interface NamedSeals extends Seals {
  readonly name: string
}

const SHAPE: Shape<NamedSeals> = {
  name: isText,
  clients: isCount,
  rewriting: isCount,
}
