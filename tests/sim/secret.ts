/** The Secrets of a simulation. Each write has a number that no other has, and its Secret holds it. */
import { decodeObject, encodeObject } from "../../src/format/codec.ts"
import type { KubeObject, Secret } from "../../src/format/object.ts"

export const SECRETS = { storagePrefix: "/registry/secrets/" }
const NAMESPACE = "default"

export const refOf = (name: string) => ({ namespace: NAMESPACE, name })
export const keyOf = (name: string): string => `${SECRETS.storagePrefix}${NAMESPACE}/${name}`

export const isSecret = (key: string): boolean => key.startsWith(SECRETS.storagePrefix)

/** Of another kind, which keyturn serves to nobody and rewrites all the same. */
export const DAMAGED_KEY = "/registry/configmaps/default/damaged"

export const secretOf = (name: string, write: number): Secret => ({
  kind: "Secret",
  apiVersion: "v1",
  metadata: { namespace: NAMESPACE, name },
  data: { write: Buffer.from(String(write)).toString("base64") },
  type: "Opaque",
})

export const writeIn = (object: KubeObject): number =>
  Number(Buffer.from((object as Secret).data?.write ?? "", "base64").toString())

export const plaintextOf = (name: string, write: number): Buffer =>
  encodeObject(secretOf(name, write))

export const writeOf = (plaintext: Buffer): number => writeIn(decodeObject(plaintext))
