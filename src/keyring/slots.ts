/** Slots: the cluster key, sealed once for each secret that may open the keyring (the server token, a recovery key).
 *  Sealed: nonce (12) | ciphertext (32) | tag (16), AES-256-GCM under scrypt(secret, salt), bound to the slot's id and kind. */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomBytes,
  randomUUID,
  scrypt,
} from "node:crypto"
import { KnownError } from "../errors.ts"

export type SlotKind = "token" | "recovery"

export interface Slot {
  readonly id: string
  readonly kind: SlotKind
  /** RFC 3339, for people only. */
  readonly created: string
  readonly salt: string
  readonly sealed: string
}

/** 32 MiB and about 0.2 s; the OWASP password storage cheat sheet's choice for scrypt. Slots on disk depend on it: never change it. */
const COST = { N: 2 ** 15, r: 8, p: 3, maxmem: 64 * 1024 * 1024 }

const NONCE = 12
const TAG = 16

/** AES-256-GCM with a random nonce: nonce | ciphertext | tag. */
export function sealBox(key: KeyObject, plaintext: Uint8Array, aad: string): Buffer {
  const nonce = randomBytes(NONCE)
  const gcm = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(aad))
  return Buffer.concat([nonce, gcm.update(plaintext), gcm.final(), gcm.getAuthTag()])
}

/** The plaintext, or undefined where key, bytes or `aad` are not the ones that sealed. */
export function openBox(key: KeyObject, sealed: Buffer, aad: string): Buffer | undefined {
  if (sealed.length < NONCE + TAG) return undefined
  const gcm = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, NONCE), {
    authTagLength: TAG,
  })
  gcm.setAAD(Buffer.from(aad)).setAuthTag(sealed.subarray(-TAG))
  try {
    return Buffer.concat([gcm.update(sealed.subarray(NONCE, -TAG)), gcm.final()])
  } catch {
    return undefined
  }
}

const slotAad = (slot: Pick<Slot, "id" | "kind">) => `keyturn slot v1 ${slot.kind} ${slot.id}`

const derive = (secret: string, salt: Buffer) =>
  new Promise<KeyObject>((resolve, reject) =>
    scrypt(secret, salt, 32, COST, (error, key) =>
      error === null ? resolve(createSecretKey(key)) : reject(error),
    ),
  )

/** A slot with its own key, which lies sealed beside the keys: so a new cluster key can be sealed for every slot without the
 *  secrets that open them. */
export interface OpenSlot extends Omit<Slot, "sealed"> {
  readonly slotKey: KeyObject
}

export function sealSlot({ slotKey, ...slot }: OpenSlot, clusterKey: KeyObject): Slot {
  const sealed = sealBox(slotKey, clusterKey.export(), slotAad(slot)).toString("base64")
  return { ...slot, sealed }
}

export async function makeSlot(of: {
  kind: SlotKind
  secret: string
  now: Date
}): Promise<OpenSlot> {
  const salt = randomBytes(16)
  return {
    id: randomUUID(),
    kind: of.kind,
    created: of.now.toISOString(),
    salt: salt.toString("base64"),
    slotKey: await derive(of.secret, salt),
  }
}

/** The cluster key, by the first slot of `kind` that `secret` opens. Throws SlotDidNotOpen, which says what slots there are. */
export async function unlock(
  slots: readonly Slot[],
  by: { kind: SlotKind; secret: string },
): Promise<KeyObject> {
  for (const slot of slots.filter(({ kind }) => kind === by.kind)) {
    const slotKey = await derive(by.secret, Buffer.from(slot.salt, "base64"))
    const opened = openBox(slotKey, Buffer.from(slot.sealed, "base64"), slotAad(slot))
    if (opened !== undefined) return createSecretKey(opened)
  }
  const seen = `the given ${KIND_NAMES[by.kind]} does not open this datastore's keyring`
  const changed = slots.find(({ kind }) => kind === "token" && by.kind === "token")
  const since = changed && ` (tokens from before ${changed.created} no longer do)`
  throw new KnownError("SlotDidNotOpen", `${seen}${since ?? ""}; ${opensBy(slots)}`)
}

/** For messages: what slots there are. */
export const opensBy = (slots: readonly Slot[]): string =>
  `it opens by: ${slots.map(({ kind, created }) => `${KIND_NAMES[kind]} of ${created}`).join(", ")}`

const KIND_NAMES: Record<SlotKind, string> = { token: "server token", recovery: "recovery key" }
