/** Slots of running servers. Each server has a key pair whose private half never leaves its memory; every record seals the
 *  cluster key for the public half too, so that a server goes on reading when another one changes the cluster key with the
 *  token. Who holds an earlier token and an earlier copy of the record finds public keys there, which open nothing.
 *  Sealed: ML-KEM-768 ciphertext (1088 bytes, FIPS 203) | box under the shared secret, bound to the server's name. */
import {
  createPublicKey,
  createSecretKey,
  decapsulate,
  encapsulate,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto"
import { openBox, sealBox } from "./slots.ts"

const CIPHERTEXT = 1088

export interface ServerSlot {
  /** The server's name. */
  readonly server: string
  /** DER (SubjectPublicKeyInfo) in base64. */
  readonly publicKey: string
}

/** As it lies in the record. */
export interface SealedServerSlot extends ServerSlot {
  readonly sealed: string
}

export interface OwnServerSlot {
  readonly slot: ServerSlot
  readonly privateKey: KeyObject
}

export function makeServerSlot(server: string): OwnServerSlot {
  const pair = generateKeyPairSync("ml-kem-768")
  const publicKey = pair.publicKey.export({ format: "der", type: "spki" }).toString("base64")
  return { slot: { server, publicKey }, privateKey: pair.privateKey }
}

const aad = (server: string) => `keyturn server slot v1 ${server}`

export function sealServerSlot(
  { server, publicKey }: ServerSlot,
  clusterKey: KeyObject,
): SealedServerSlot {
  const key = Buffer.from(publicKey, "base64")
  const { sharedKey, ciphertext } = encapsulate(
    createPublicKey({ key, format: "der", type: "spki" }),
  )
  const box = sealBox(createSecretKey(sharedKey), clusterKey.export(), aad(server))
  return { server, publicKey, sealed: Buffer.concat([ciphertext, box]).toString("base64") }
}

/** The cluster key; undefined where no slot of the record is this server's. */
export function openServerSlot(
  slots: readonly SealedServerSlot[],
  { slot: { server, publicKey }, privateKey }: OwnServerSlot,
): KeyObject | undefined {
  const own = slots.find((slot) => slot.publicKey === publicKey)
  const sealed = Buffer.from(own?.sealed ?? "", "base64")
  if (sealed.length < CIPHERTEXT) return undefined
  const sharedKey = createSecretKey(decapsulate(privateKey, sealed.subarray(0, CIPHERTEXT)))
  const clusterKey = openBox(sharedKey, sealed.subarray(CIPHERTEXT), aad(server))
  return clusterKey && createSecretKey(clusterKey)
}
