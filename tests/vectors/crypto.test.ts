/** Every value that kube-apiserver 1.36 sealed opens to what it was; every damaged or crossed one has its outcome. */

import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { isKnown } from "../../src/errors.ts"
import { decodeObject } from "../../src/format/codec.ts"
import type { KubeObject } from "../../src/format/object.ts"
import { sharedPath } from "../shared.ts"
import { viewOf } from "./view.ts"

/** KMS is parsed but not opened: `crypto-kmsv2.json` and `live-kmsv2.json` wait for that provider; its plaintext reads and
 *  its refusal are tested in src/config. */
const SYNTHETIC = ["aescbc16", "aescbc32", "aesgcm16", "aesgcm32", "identity", "secretbox32"]
const LIVE = ["aescbc32", "aesgcm32", "identity", "secretbox32"]

const read = (file: string): unknown =>
  JSON.parse(readFileSync(sharedPath("vectors", file), "utf8"))

const bytes = (base64: string): Buffer => Buffer.from(base64, "base64")

interface Crypto {
  encryptionConfiguration: string
  vectors: { label: string; key: string; plaintext: string; ciphertext: string }[]
  reads: { what: string; key: string; data: string; configText: string; result: Result }[]
}

type Result = { error: string } | { stale: boolean; isPlaintext: boolean; data: string }

/** Kubernetes' words to ours: its code, and what our message holds. Where they differ: Go's cipher package names itself, and
 *  secretbox speaks of a buffer where the tag did not fit. Plaintext is not refused: every keyring reads it, as
 *  every configuration that K3s writes does. */
// biome-ignore format: a table
const OUTCOMES: Record<string, readonly [code: string, words: string]> = {
  "the stored data was shorter than the required size": ["ValueCorrupt", "the stored data was shorter than the required size"],
  "invalid padding on input": ["KeyDidNotOpen", "invalid padding on input"],
  "cipher: message authentication failed": ["KeyDidNotOpen", "message authentication failed"],
  "output array was not large enough for encryption": ["KeyDidNotOpen", "message authentication failed"],
  "no matching prefix found": ["KeyDidNotOpen", "no matching prefix found"],
  "no matching key was found for the provided AES transformer": ["KeyDidNotOpen", "no matching key was found for the provided AES transformer"],
  "no matching key was found for the provided Secretbox transformer": ["KeyDidNotOpen", "no matching key was found for the provided Secretbox transformer"],
}

describe.each(SYNTHETIC)("crypto-%s", (name) => {
  const { encryptionConfiguration, vectors, reads } = read(`crypto-${name}.json`) as Crypto
  const view = viewOf(encryptionConfiguration)

  test.each(vectors)("$label opens, and so does what we seal", ({ key, plaintext, ciphertext }) => {
    const opened = view.open(key, bytes(ciphertext))
    expect(opened.plaintext.toString("base64")).toBe(plaintext)
    expect(opened.stale).toBe(false)
    const { value } = view.seal(key, bytes(plaintext))
    expect(value.length).toBe(bytes(ciphertext).length)
    expect(view.open(key, value)).toEqual(opened)
  })

  test.each(reads)("$what", ({ what, key, data, configText, result }) => {
    const open = () => viewOf(configText).open(key, bytes(data))
    if (!("error" in result)) {
      const { plaintext, stale } = open()
      expect({ data: plaintext.toString("base64"), stale }).toEqual({
        data: result.data,
        stale: result.stale,
      })
      return
    }
    if (what === "plaintext stored, no identity in config") {
      expect(open()).toEqual({ plaintext: bytes(data), stale: true })
      return
    }
    const [code, words] = OUTCOMES[result.error] ?? []
    let error: unknown
    try {
      open()
    } catch (thrown) {
      error = thrown
    }
    expect(isKnown(error) && error.code).toBe(code)
    expect(isKnown(error) && error.message).toContain(words)
  })
})

interface Live {
  encryptionConfiguration: string
  secrets: {
    case: string
    etcdKey: string
    storedBase64: string
    plaintextBase64: string
    stale: boolean
    getJson: string
  }[]
}

describe.each(LIVE)("live-%s", (name) => {
  const { encryptionConfiguration, secrets } = read(`live-${name}.json`) as Live
  const view = viewOf(encryptionConfiguration)

  test.each(secrets)("$case, from etcd to its GET", (recorded) => {
    const { plaintext, stale } = view.open(recorded.etcdKey, bytes(recorded.storedBase64))
    expect(plaintext.toString("base64")).toBe(recorded.plaintextBase64)
    expect(stale).toBe(recorded.stale)
    const shown = JSON.parse(recorded.getJson) as KubeObject
    delete shown.metadata.resourceVersion
    expect(decodeObject(plaintext)).toEqual(shown)
  })
})
