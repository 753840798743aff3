/** What lies in the datastore, understood: which write each stored byte string is of, and under which key it lies. */
import type { KeyObject } from "node:crypto"
import { claimOf } from "../../src/format/value.ts"
import { type Keyring, writingKey } from "../../src/keyring/keyring.ts"
import { openRecord } from "../../src/keyring/record.ts"
import { makeView, type View } from "../../src/registry/view.ts"
import { decodeOperation, type Operation } from "../../src/rotation/operation.ts"
import { isKnown } from "../../src/errors.ts"
import type { Datastore } from "./datastore.ts"
import { isSecret, writeOf } from "./secret.ts"

/** One stored byte string. */
export interface Text {
  /** The name of the key that it claims; null: it is plain. */
  readonly under: string | null
  /** Which write it is of; undefined: it does not open by the keys in the keyring. */
  readonly write: number | undefined
}

/** `value` is undefined of a tombstone, `previous` where no old value is kept. */
export interface SeenRow {
  readonly revision: number
  readonly key: string
  readonly value: Text | undefined
  readonly previous: Text | undefined
}

export interface Placed {
  readonly text: Text
  readonly row: SeenRow
  readonly column: "value" | "previous"
}

/** The datastore at one moment. */
export interface Seen {
  /** Those of Secrets, in the order of their revisions. */
  readonly rows: readonly SeenRow[]
  /** Every byte string, of other kinds too. */
  readonly texts: readonly Placed[]
  /** undefined: there is none yet. */
  readonly keyring: Keyring | undefined
  /** The fence that the keyring names, and the one that the datastore compares. */
  readonly fences: { readonly named: string | undefined; readonly stored: string | undefined }
  /** The name of the key that writes; null: identity. */
  readonly writer: string | null
  readonly operation: Operation | undefined
  readonly compacted: number
}

export class Observer {
  readonly #datastore: Datastore
  readonly #clusterKey: KeyObject
  /** Bytes never change, and what they open to does not: only whether the keyring still holds their key. */
  readonly #texts = new WeakMap<Buffer, Text & { readonly secret: KeyObject | undefined }>()
  #view: View | undefined
  #secrets: ReadonlyMap<string | null, KeyObject> = new Map()

  constructor(datastore: Datastore, clusterKey: KeyObject) {
    this.#datastore = datastore
    this.#clusterKey = clusterKey
  }

  look(): Seen {
    const stored = this.#datastore.look()
    const { keyring } = stored
    if (keyring !== undefined && keyring.version !== this.#view?.version)
      this.#view = makeView(openRecord(keyring.value, this.#clusterKey), keyring.version)
    if (keyring === undefined) this.#view = undefined
    const record = this.#view?.record
    this.#secrets = new Map(record?.keyring.keys.map(({ name, secret }) => [name, secret]))
    const seen = (bytes: Buffer | undefined, key: string) => bytes && this.#text(bytes, key)
    const all = stored.rows.map(({ revision, key, value, previous }) => ({
      revision,
      key,
      value: seen(value, key),
      previous: seen(previous, key),
    }))
    return {
      rows: all.filter(({ key }) => isSecret(key)),
      texts: all.flatMap((row) => [...placed(row, "value"), ...placed(row, "previous")]),
      keyring: record?.keyring,
      fences: { named: record?.fence, stored: stored.fence },
      writer: (record && writingKey(record.keyring)?.name) ?? null,
      operation: stored.operation && decodeOperation(stored.operation.value),
      compacted: stored.compacted,
    }
  }

  #text(bytes: Buffer, key: string): Text {
    const known = this.#texts.get(bytes)
    if (known !== undefined && isSame(known.secret, this.#secrets.get(known.under))) return known
    const under = claimOf(bytes)?.name ?? null
    const text = { under, write: this.#open(bytes, key), secret: this.#secrets.get(under) }
    this.#texts.set(bytes, text)
    return text
  }

  #open(bytes: Buffer, key: string): number | undefined {
    try {
      return writeOf(this.#view?.open(key, bytes).plaintext ?? bytes)
    } catch (error) {
      if (isKnown(error)) return undefined
      throw error
    }
  }
}

const isSame = (one: KeyObject | undefined, other: KeyObject | undefined): boolean =>
  one === other || (one !== undefined && other !== undefined && one.equals(other))

function placed(row: SeenRow, column: Placed["column"]): Placed[] {
  const text = row[column]
  return text === undefined ? [] : [{ text, row, column }]
}
