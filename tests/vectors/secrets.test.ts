/** What kube-apiserver 1.36 stored and answered for Secrets of many shapes, held against our codec. */

import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { decodeObject, encodeObject } from "../../src/format/codec.ts"
import type { KubeObject } from "../../src/format/object.ts"
import { sharedPath } from "../shared.ts"

interface Recorded {
  case: string
  modRevision: string
  storedBase64: string
  getJson: string
  getProtobufBase64: string
}

const { secrets } = JSON.parse(readFileSync(sharedPath("vectors", "secrets.json"), "utf8")) as {
  secrets: Recorded[]
}

/** An entry of `data` that was sent as null is stored without a value, but read as "": even Go does not write the bytes
 *  it read. */
const storedWithNull = "null-value"

/** Its data has keys that look like array indexes ("10", "9"): JavaScript's objects always have those first. */
const withIndexKeys = "labels-annos"

/** As Go prints JSON: these characters escaped, one newline at the end. */
const goJson = (object: KubeObject): string => {
  const escaped = (character: string) =>
    `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  return `${JSON.stringify(object).replace(/[<>&\u2028\u2029]/g, escaped)}\n`
}

test("there are vectors", () => expect(secrets.length).toBeGreaterThan(20))

test.each(secrets)("the stored value of $case reads as its GET", (recorded) => {
  const object = decodeObject(Buffer.from(recorded.storedBase64, "base64"))
  const shown = JSON.parse(recorded.getJson) as KubeObject
  delete shown.metadata.resourceVersion
  expect(object).toEqual(shown)
})

test.each(secrets)("$case is written as kube-apiserver wrote it", (recorded) => {
  const object = JSON.parse(recorded.getJson) as KubeObject
  delete object.metadata.resourceVersion
  if (recorded.case === storedWithNull) object.data = { nul: null }
  expect(encodeObject(object).toString("base64")).toBe(recorded.storedBase64)
})

test.each(secrets)("$case over HTTP, in protobuf and in JSON to the letter", (recorded) => {
  const object = decodeObject(Buffer.from(recorded.getProtobufBase64, "base64"))
  if (recorded.case === withIndexKeys) expect(object).toEqual(JSON.parse(recorded.getJson))
  else expect(goJson(object)).toBe(recorded.getJson)
  expect(encodeObject(object).toString("base64")).toBe(recorded.getProtobufBase64)
})

test.each(secrets)("$case keeps its bytes when it is written over itself", (recorded) => {
  const stored = Buffer.from(recorded.storedBase64, "base64")
  const again = encodeObject(decodeObject(stored), { unknownFrom: stored })
  expect(again.toString("base64")).toBe(recorded.storedBase64)
})
