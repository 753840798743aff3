/** Slots: the cluster key, sealed once for each secret that may open the keyring: the server token, recovery keys, and what each
 *  running server has in its memory.
 *
 *  A slot has two keys. The one is asymmetric (ML-KEM-768, FIPS 203): its public half lies in the record, so that a new cluster
 *  key is sealed without the secret, and its private half nowhere, so that an earlier copy of the record opens no later one. The
 *  other is symmetric and lies in the box, so that who can only write to the datastore makes no record of his own.
 *  Sealed: ML-KEM ciphertext (1088) | nonce (12) | ciphertext (32) | tag (16), AES-256-GCM under HKDF-SHA256(shared key, slot
 *  key), bound to the slot's kind and id. */
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  decapsulate,
  encapsulate,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
  randomUUID,
  scrypt,
} from "node:crypto"
import { KnownError } from "../errors.ts"

type TypedKind = "token" | "recovery"
export type SlotKind = TypedKind | "server"

/** As it lies in the record. */
export interface Slot {
  /** Of a server its name. */
  readonly id: string
  readonly kind: SlotKind
  /** RFC 3339, for people only. */
  readonly created: string
  /** Of scrypt; "" where no secret is typed. */
  readonly salt: string
  /** DER (SubjectPublicKeyInfo) in base64. */
  readonly publicKey: string
  readonly sealed: string
}

/** With its symmetric key, which lies in the box. */
export interface OpenSlot extends Omit<Slot, "sealed"> {
  readonly slotKey: KeyObject
}

/** What opens a slot. */
export interface SlotSecret {
  readonly privateKey: KeyObject
  readonly slotKey: KeyObject
}

/** 32 MiB and about 0.2 s; the OWASP password storage cheat sheet's choice for scrypt. Slots on disk depend on it: never change it. */
const COST = { N: 2 ** 15, r: 8, p: 3, maxmem: 64 * 1024 * 1024 }

const KEM = "ml-kem-768"
const KEM_SEED = 64
const KEM_CIPHERTEXT = 1088
const SLOT_KEY = 32
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

const bind = ({ kind, id }: Pick<Slot, "id" | "kind">) => `keyturn slot v1 ${kind} ${id}`

async function derive(secret: string, salt: Buffer): Promise<SlotSecret> {
  const bytes = await new Promise<Buffer>((resolve, reject) =>
    scrypt(secret, salt, KEM_SEED + SLOT_KEY, COST, (error, derived) =>
      error === null ? resolve(derived) : reject(error),
    ),
  )
  const key = bytes.subarray(0, KEM_SEED)
  return {
    privateKey: createPrivateKey({ key, format: "raw-seed", asymmetricKeyType: KEM }),
    slotKey: createSecretKey(bytes.subarray(KEM_SEED)),
  }
}

const publicHalf = (privateKey: KeyObject): string =>
  createPublicKey(privateKey).export({ format: "der", type: "spki" }).toString("base64")

/** A slot for a secret that somebody types or keeps in a file. */
export async function makeSlot(of: {
  kind: TypedKind
  secret: string
  now: Date
}): Promise<OpenSlot> {
  const salt = randomBytes(16)
  const { privateKey, slotKey } = await derive(of.secret, salt)
  return {
    id: randomUUID(),
    kind: of.kind,
    created: of.now.toISOString(),
    salt: salt.toString("base64"),
    publicKey: publicHalf(privateKey),
    slotKey,
  }
}

/** A slot for the memory of one running server. */
export function makeServerSlot(server: string, now: Date): { slot: OpenSlot; secret: SlotSecret } {
  const { privateKey } = generateKeyPairSync(KEM)
  const slotKey = createSecretKey(randomBytes(SLOT_KEY))
  const publicKey = publicHalf(privateKey)
  const created = now.toISOString()
  const slot = { id: server, kind: "server", created, salt: "", publicKey, slotKey } as const
  return { slot, secret: { privateKey, slotKey } }
}

const boxKey = (sharedKey: Buffer, slotKey: KeyObject, slot: Pick<Slot, "id" | "kind">) =>
  createSecretKey(Buffer.from(hkdfSync("sha256", sharedKey, slotKey.export(), bind(slot), 32)))

export function sealSlot({ slotKey, ...slot }: OpenSlot, clusterKey: KeyObject): Slot {
  const der = Buffer.from(slot.publicKey, "base64")
  const publicKey = createPublicKey({ key: der, format: "der", type: "spki" })
  const { sharedKey, ciphertext } = encapsulate(publicKey)
  const box = sealBox(boxKey(sharedKey, slotKey, slot), clusterKey.export(), bind(slot))
  return { ...slot, sealed: Buffer.concat([ciphertext, box]).toString("base64") }
}

/** The cluster key; undefined where `secret` is not the slot's. */
export function openSlot(slot: Slot, { privateKey, slotKey }: SlotSecret): KeyObject | undefined {
  const sealed = Buffer.from(slot.sealed, "base64")
  if (sealed.length < KEM_CIPHERTEXT) return undefined
  const sharedKey = decapsulate(privateKey, sealed.subarray(0, KEM_CIPHERTEXT))
  const box = sealed.subarray(KEM_CIPHERTEXT)
  const opened = openBox(boxKey(sharedKey, slotKey, slot), box, bind(slot))
  return opened && createSecretKey(opened)
}

/** The cluster key, by the first slot of `kind` that `secret` opens. Throws SlotDidNotOpen, which says what slots there are. */
export async function unlock(
  slots: readonly Slot[],
  by: { kind: TypedKind; secret: string },
): Promise<KeyObject> {
  for (const slot of slots.filter(({ kind }) => kind === by.kind)) {
    const clusterKey = openSlot(slot, await derive(by.secret, Buffer.from(slot.salt, "base64")))
    if (clusterKey !== undefined) return clusterKey
  }
  const seen = `the given ${KIND_NAMES[by.kind]} does not open this datastore's keyring`
  const changed = slots.find(({ kind }) => kind === "token" && by.kind === "token")
  const since = changed && ` (tokens from before ${changed.created} no longer do)`
  throw new KnownError("SlotDidNotOpen", `${seen}${since ?? ""}; ${opensBy(slots)}`)
}

/** For messages: what slots there are for a secret that is given at a start. */
export function opensBy(slots: readonly Slot[]): string {
  const names = slots.flatMap(({ kind, created }) =>
    kind === "server" ? [] : [`${KIND_NAMES[kind]} of ${created}`],
  )
  return `it opens by: ${names.join(", ")}`
}

const KIND_NAMES: Record<TypedKind, string> = { token: "server token", recovery: "recovery key" }
