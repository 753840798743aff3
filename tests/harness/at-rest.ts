/** What lies in a datastore while nobody changes it, opened by the keyring that lies beside it; and what of docs/invariants.md does
 *  not hold of it, a sentence each. */
import type { KeyObject } from "node:crypto"
import { isKnown } from "../../src/errors.ts"
import { claimOf } from "../../src/format/value.ts"
import { isDestroyed, writingKey } from "../../src/keyring/keyring.ts"
import { type OpenRecord, openRecord, readOutside } from "../../src/keyring/record.ts"
import { unlock } from "../../src/keyring/slots.ts"
import { decodeObject } from "../../src/format/codec.ts"
import { makeView, type View } from "../../src/registry/view.ts"
import { passwordOf } from "../../src/cluster/token.ts"
import type { Datastore, StoredSecret } from "./engines.ts"

export interface AtRest {
  readonly view: View
  readonly fence: string | undefined
  /** Of Secrets: values, and in SQL history and old values. */
  readonly stored: readonly StoredSecret[]
}

export async function atRest(datastore: Datastore, token: string): Promise<AtRest> {
  const record = await datastore.record("keyring")
  if (record === undefined) throw new Error("there is no keyring")
  const view = makeView(await opened(record, token), "")
  return { view, fence: await datastore.fence(), stored: await datastore.secrets() }
}

/** By token: the cluster key that it led to last. Every way from one to the other takes scrypt its time. */
const clusterKeys = new Map<string, KeyObject>()

async function opened(record: Buffer, token: string): Promise<OpenRecord> {
  const last = clusterKeys.get(token)
  try {
    if (last !== undefined) return openRecord(record, last)
  } catch (error) {
    if (!isKnown(error, "RecordCorrupt")) throw error
  }
  const { slots } = readOutside(record)
  const clusterKey = await unlock(slots, { kind: "token", secret: passwordOf(token) })
  clusterKeys.set(token, clusterKey)
  return openRecord(record, clusterKey)
}

/** I1: a key writes only after the record that holds it is durable. */
export const underUnknownKeys = ({ view, stored }: AtRest): string[] =>
  stored.flatMap(({ key, bytes }) => {
    const name = claimOf(bytes)?.name
    const isKnownKey = view.record.keyring.keys.some((one) => one.name === name)
    return name === undefined || isKnownKey
      ? []
      : [`${key} is under ${name}, which no record holds`]
  })

/** I2: the fence that writes are compared with is the keyring's. */
export const strangeFence = ({ view, fence }: AtRest): string[] =>
  fence === view.record.fence ? [] : ["the fence is not the keyring's"]

/** I3: every stored value opens, and is the object that its key names. */
export const unopened = ({ view, stored }: AtRest): string[] =>
  stored.flatMap(({ key, bytes }) => {
    try {
      const { metadata } = decodeObject(view.open(key, bytes).plaintext)
      const whose = `/registry/secrets/${metadata.namespace}/${metadata.name}`
      return whose === key ? [] : [`what opened at ${key} is ${whose}`]
    } catch (error) {
      if (!isKnown(error)) throw error
      return [error.message]
    }
  })

/** I4: nothing is under a key that was retired. */
export const underRetiredKeys = ({ view, stored }: AtRest): string[] => {
  const retired = view.record.keyring.keys.filter(({ state }) => state !== "active")
  return stored.flatMap(({ key, bytes }) => {
    const name = claimOf(bytes)?.name
    return retired.some((one) => one.name === name) ? [`${key} is under ${name}, retired`] : []
  })
}

/** What a rewrite that has ended left: everything that is not as the next write of it would be. */
export const notUnderTheWriter = ({ view, stored }: AtRest): string[] => {
  const writer = writingKey(view.record.keyring)?.name
  return stored.flatMap(({ key, bytes }) => {
    const name = claimOf(bytes)?.name
    return name === writer ? [] : [`${key} is under ${name ?? "no key"}, and ${writer} writes`]
  })
}

/** I7, and what retirement promises: keys come and are archived, none but a destroyed one is lost, and the CAs stay. */
export function lostSince(before: AtRest, { view }: AtRest): string[] {
  const [then, now] = [before.view.record.keyring, view.record.keyring]
  const isThere = (key: (typeof then.keys)[number]) =>
    isDestroyed(now, key.name) ||
    now.keys.some(({ name, secret }) => name === key.name && secret.equals(key.secret))
  const lost = then.keys.filter((key) => !isThere(key)).map(({ name }) => `${name} is lost`)
  const isSame = JSON.stringify(then.authorities) === JSON.stringify(now.authorities)
  return isSame ? lost : [...lost, "the CAs are others"]
}

export const wrongAtRest = (now: AtRest): string[] => [
  ...underUnknownKeys(now),
  ...strangeFence(now),
  ...unopened(now),
  ...underRetiredKeys(now),
]
