/** The keyring as it lies in the datastore: one JSON object, `{format, epoch, fence, slots, box}`. `box` is the whole
 *  keyring under the cluster key (AES-256-GCM), bound to everything that stands outside of it, so that nobody who can write
 *  to the datastore can change a key, the writer or the fence. The layout is stored: never change it, add a format. */
import { createSecretKey, type KeyObject, randomBytes } from "node:crypto"
import { bug, KnownError } from "../errors.ts"
import { isRecord } from "../format/schema.ts"
import type { Key, Keyring } from "./keyring.ts"
import { type OpenSlot, openBox, type Slot, sealBox, sealSlot } from "./slots.ts"

const FORMAT = "keyturn.io/keyring/v1"

interface Outside {
  readonly format: typeof FORMAT
  /** Counts changes, for people to read; nothing compares it. */
  readonly epoch: number
  /** The fence id that belongs to this keyring. */
  readonly fence: string
  readonly slots: readonly Slot[]
}

interface Box {
  readonly box: string
}

/** What is in the box; secrets in base64. */
interface Inside {
  /** `destroyed` is absent where the record was written before keys could be. */
  readonly keyring: Omit<Keyring, "keys" | "destroyed"> & {
    readonly destroyed?: Keyring["destroyed"]
    readonly keys: readonly (Omit<Key, "secret"> & { readonly secret: string })[]
  }
  /** In the order of the slots. */
  readonly slotKeys: readonly string[]
}

export interface OpenRecord {
  readonly epoch: number
  readonly fence: string
  readonly slots: readonly OpenSlot[]
  readonly keyring: Keyring
}

export const newClusterKey = (): KeyObject => createSecretKey(randomBytes(32))

/** A random 128-bit id, compared for equality only. */
export const newFence = (): string => randomBytes(16).toString("hex")

const b64 = (key: KeyObject) => key.export().toString("base64")
const unb64 = (text: string) => createSecretKey(Buffer.from(text, "base64"))

/** Every slot is sealed anew each time, so a changed cluster key or a changed slot needs nothing else. */
export function sealRecord(
  { epoch, fence, slots, keyring }: OpenRecord,
  clusterKey: KeyObject,
): Buffer {
  const header: Outside = {
    format: FORMAT,
    epoch,
    fence,
    slots: slots.map((slot) => sealSlot(slot, clusterKey)),
  }
  const body: Inside = {
    keyring: { ...keyring, keys: keyring.keys.map((key) => ({ ...key, secret: b64(key.secret) })) },
    slotKeys: slots.map(({ slotKey }) => b64(slotKey)),
  }
  const box = sealBox(
    clusterKey,
    Buffer.from(JSON.stringify(body)),
    JSON.stringify(header),
  ).toString("base64")
  return Buffer.from(JSON.stringify({ ...header, box }))
}

const corrupt = (message: string, options?: ErrorOptions): KnownError =>
  new KnownError("RecordCorrupt", message, options)
const isText = (value: unknown): boolean => typeof value === "string"
const isSlot = (value: unknown): boolean =>
  isRecord(value) &&
  [value.id, value.kind, value.created, value.salt, value.publicKey, value.sealed].every(isText)

/** What stands outside of the box: readable without any key. Throws RecordCorrupt. */
export function readOutside(stored: Buffer): Outside & Box {
  try {
    const { format, epoch, fence, slots, box } = JSON.parse(stored.toString()) as Outside & Box
    if (format !== FORMAT)
      throw corrupt(`the keyring record has the unknown format "${String(format)}"`)
    if (!isText(box) || !Array.isArray(slots) || !slots.every(isSlot))
      throw corrupt("the keyring record lacks its box or has a damaged slot")
    return { format, epoch, fence, slots, box }
  } catch (cause) {
    if (cause instanceof KnownError) throw cause
    throw corrupt("the keyring record is not JSON", { cause })
  }
}

/** Throws RecordCorrupt where the record was changed by anything but a holder of the cluster key. */
export function openRecord(stored: Buffer, clusterKey: KeyObject): OpenRecord {
  const { box, ...header } = readOutside(stored)
  const body = openBox(clusterKey, Buffer.from(box, "base64"), JSON.stringify(header))
  if (body === undefined)
    throw corrupt(
      "the keyring record does not open under the cluster key: it was changed from outside, or the token was rotated elsewhere",
    )
  // Nobody but a holder of the cluster key can have written it.
  const { keyring, slotKeys } = JSON.parse(body.toString()) as Inside
  return {
    epoch: header.epoch,
    fence: header.fence,
    slots: header.slots.map(({ sealed: _, ...slot }, i) => ({
      ...slot,
      slotKey: unb64(slotKeys[i] ?? bug("a slot without its key")),
    })),
    keyring: {
      destroyed: [],
      ...keyring,
      // Records from before there were proofs lack it.
      proven: keyring.proven ?? null,
      keys: keyring.keys.map((key) => ({
        ...key,
        secret: unb64(key.secret),
      })),
    },
  }
}
