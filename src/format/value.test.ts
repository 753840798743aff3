import { describe, expect, test } from "vitest"
import { claimOf, describeValue, hasPrefix, isEncrypted, isObject, prefixOf } from "./value.ts"

const bytes = (text: string) => Buffer.from(text, "latin1")
const TIME = "2021-12-10T22:54:38Z"

// biome-ignore format: a table
const values: readonly (readonly [string, string])[] = [
  ["k8s\0\x0a\x0c", "the value is plaintext"],
  ["{}", "the value is plaintext"],
  ["", "the value is plaintext"],
  ["k8s:enc", "the value is plaintext"],
  ["k8s:enc:", "the value begins with k8s:enc: but names no key"],
  ["k8s:enc:aescbc:v1:\xff\x00:", "the value begins with k8s:enc: but names no key"],
  ["k8s:enc:aescbc:v1:key1:\x01:\x02", 'the value was written by aescbc v1, key "key1"'],
  ["k8s:enc:aescbc:v1:key1:abc:def", 'the value was written by aescbc v1, key "key1"'],
  [`k8s:enc:aescbc:v1:aescbckey-${TIME}:ab:`, `the value was written by aescbc v1, key "aescbckey-${TIME}"`],
  ["k8s:enc:secretbox:v1:k-2021-12-10T22:54:38-07:00:\xff", 'the value was written by secretbox v1, key "k-2021-12-10T22:54:38-07:00"'],
  ["k8s:enc:kms:v2:peerkms:\x0a", 'the value was written by kms v2, plugin "peerkms"'],
  [`k8s:enc:aesgcm:v1:${"k".repeat(400)}:`, "the value begins with k8s:enc: but names no key"],
]

test.each(values)("%j", (stored, description) => {
  expect(describeValue(bytes(stored))).toBe(description)
})

test("a claim has its parts", () => {
  expect(claimOf(bytes(`k8s:enc:aesgcm:v2:a-${TIME}:x`))).toEqual({
    provider: "aesgcm",
    version: "v2",
    name: `a-${TIME}`,
  })
  expect(claimOf(bytes("k8s\0"))).toBeUndefined()
})

describe("a key's prefix", () => {
  test("is compared whole, as names may contain ':'", () => {
    const short = prefixOf({ provider: "aescbc", name: "k" })
    const long = prefixOf({ provider: "aescbc", name: `k:${TIME}` })
    const stored = Buffer.concat([long, Buffer.from("sealed")])
    expect([hasPrefix(stored, short), hasPrefix(stored, long)]).toEqual([true, true])
    expect(hasPrefix(short, long)).toBe(false)
    expect(hasPrefix(short.subarray(0, -1), short)).toBe(false)
  })

  test("is empty for plaintext alone", () => {
    const empty = Buffer.alloc(0)
    expect(hasPrefix(bytes("k8s\0"), empty)).toBe(true)
    expect(hasPrefix(empty, empty)).toBe(true)
    expect(hasPrefix(bytes("k8s:enc:x"), empty)).toBe(false)
    expect([isEncrypted(bytes("k8s:enc:")), isEncrypted(bytes("k8s:en"))]).toEqual([true, false])
  })
})

test("what Kubernetes stores is told from rubbish", () => {
  for (const object of ["k8s\0\x0a", '{"kind":"Secret"}\n', "\xd9\xd9\xf7\xa3"])
    expect(isObject(bytes(object))).toBe(true)
  for (const rubbish of ["", "k8s", "k8s:enc:", "x", "{", '{"kind":', "\xd9\xd9"])
    expect(isObject(bytes(rubbish))).toBe(false)
})
