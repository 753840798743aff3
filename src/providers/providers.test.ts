import { createSecretKey, generateKeySync } from "node:crypto"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { identity } from "./identity.ts"
import { makeProvider } from "./make.ts"
import { KEY_PROVIDERS, type KeyProvider } from "./provider.ts"
import { openStored } from "./transform.ts"

const BYTES = Buffer.from(Array.from({ length: 32 }, (_, i) => i))
const SECRET = createSecretKey(BYTES)
const randomSecret = () => generateKeySync("aes", { length: 256 })
const PATH = "/registry/secrets/default/s1"

const outcome = (act: () => unknown): unknown => {
  try {
    return act()
  } catch (error) {
    if (isKnown(error)) return error.code
    throw error
  }
}

// reference/storage-formats.md 5.3: key 00..1f, plaintext "hello"; the tail after the prefix
const golden = [
  ["aescbc", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabf915209a7545043951a60b155c43989"],
  ["aesgcm", "bbbbbbbbbbbbbbbbbbbbbbbbeb199e43c5cec62479060c036abc481507aaa4cacc"],
  [
    "secretbox",
    "dddddddddddddddddddddddddddddddddddddddddddddddd" +
      "edf71e0f4eadb1d9ebf7d2bbfe746a3f45bab0df83",
  ],
] as const

describe.each(golden)("%s", (name, tail) => {
  const provider = makeProvider({ provider: name, name: "a:b", secret: SECRET })
  const stored = Buffer.concat([provider.prefix, Buffer.from(tail, "hex")])

  test("opens the golden value", () => {
    expect(provider.prefix.toString()).toBe(`k8s:enc:${name}:v1:a:b:`)
    expect(provider.open(stored, PATH).toString()).toBe("hello")
  })

  test("opens what it sealed, and never seals twice alike", () => {
    const plaintexts = fc.uint8Array({ maxLength: 5000 })
    fc.assert(
      fc.property(plaintexts, fc.string(), (plaintext, path) => {
        const sealed = provider.seal(plaintext, path)
        expect(sealed.subarray(0, provider.prefix.length)).toEqual(provider.prefix)
        expect(provider.open(sealed, path)).toEqual(Buffer.from(plaintext))
        expect(provider.seal(plaintext, path)).not.toEqual(sealed)
      }),
    )
  })

  test("refuses what is too short for any of its values", () => {
    for (let length = 0; length < 28; length++) {
      const short = stored.subarray(0, provider.prefix.length + length)
      expect(outcome(() => provider.open(short, PATH))).toBe("ValueCorrupt")
    }
  })

  test("the key's bytes are in no message and do not print", () => {
    const broken = Buffer.from(stored)
    broken[broken.length - 1] = 0
    let text = ""
    try {
      provider.open(broken, PATH)
    } catch (error) {
      text = `${String(error)} ${JSON.stringify(error)}`
    }
    expect(text).toContain('"a:b"')
    expect(text).not.toContain(BYTES.toString("hex"))
    expect(text).not.toContain(BYTES.toString("base64"))
  })
})

const binds: readonly (readonly [KeyProvider, boolean])[] = [
  ["aescbc", false],
  ["aesgcm", true],
  ["secretbox", false],
]

test.each(binds)("%s binds a value to its place: %s", (name, bound) => {
  const provider = makeProvider({ provider: name, name: "k", secret: SECRET })
  const sealed = provider.seal(Buffer.from("x"), PATH)
  const elsewhere = outcome(() => provider.open(sealed, `${PATH}2`).toString())
  expect(elsewhere).toBe(bound ? "KeyDidNotOpen" : "x")
})

test.each(["aesgcm", "secretbox"] as const)("%s opens nothing that was changed", (name) => {
  const provider = makeProvider({ provider: name, name: "k", secret: SECRET })
  const sealed = provider.seal(Buffer.from("plaintext"), PATH)
  for (let at = provider.prefix.length; at < sealed.length; at++) {
    const changed = Buffer.from(sealed)
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
    expect(outcome(() => provider.open(changed, PATH))).toBe("KeyDidNotOpen")
  }
})

test("identity opens all but what is encrypted", () => {
  expect(outcome(() => identity.open(Buffer.from("k8s:enc:x"), PATH))).toBe("KeyDidNotOpen")
  expect(identity.open(identity.seal(Buffer.from("k8s"), PATH), PATH).toString()).toBe("k8s")
})

describe("aescbc", () => {
  const provider = makeProvider({ provider: "aescbc", name: "k", secret: SECRET })

  test("a body that is no multiple of the block is damaged", () => {
    const sealed = provider.seal(Buffer.from("plaintext"), PATH)
    const cut = sealed.subarray(0, -1)
    expect(outcome(() => provider.open(cut, PATH))).toBe("ValueCorrupt")
    const longer = Buffer.concat([sealed, Buffer.alloc(1)])
    expect(outcome(() => provider.open(longer, PATH))).toBe("ValueCorrupt")
  })

  // The last plaintext byte follows the IV's last byte as long as there is one block.
  const withLastByte = (last: number) => {
    const sealed = provider.seal(Buffer.alloc(15), PATH)
    const at = provider.prefix.length + 15
    sealed.writeUInt8(sealed.readUInt8(at) ^ 1 ^ last, at)
    return sealed
  }

  test.each([0, 2, 17, 255])("padding that ends in %i is refused", (last) => {
    expect(outcome(() => provider.open(withLastByte(last), PATH))).toBe("KeyDidNotOpen")
  })

  test("a whole body of padding is an empty value, also where it is longer than a block", () => {
    expect(provider.open(provider.seal(Buffer.alloc(0), PATH), PATH)).toEqual(Buffer.alloc(0))
    const padding = Buffer.alloc(32, 32)
    const sealed = provider.seal(padding, PATH).subarray(0, -16)
    expect(provider.open(sealed, PATH)).toEqual(Buffer.alloc(0))
  })
})

test("a key of another length is a bug of the caller", () => {
  const secret = createSecretKey(BYTES.subarray(1))
  for (const provider of KEY_PROVIDERS)
    expect(() => makeProvider({ provider, name: "k", secret })).toThrow(
      `bug: ${provider} key of 31 bytes`,
    )
})

describe("reading with several providers", () => {
  const old = makeProvider({ provider: "aescbc", name: "k", secret: SECRET })
  const same = makeProvider({ provider: "aescbc", name: "k", secret: randomSecret() })
  const longer = makeProvider({ provider: "aesgcm", name: "k:2026", secret: randomSecret() })
  const shorter = makeProvider({ provider: "aesgcm", name: "k", secret: randomSecret() })
  const sealed = longer.seal(Buffer.from("x"), PATH)

  test("a provider whose prefix fits but that does not open is passed over", () => {
    expect(openStored([shorter, longer], sealed, PATH)).toMatchObject({ stale: true })
    expect(openStored([longer, shorter], sealed, PATH)).toMatchObject({ stale: false })
  })

  test("identity first does not take an encrypted value for plaintext", () => {
    const opened = openStored([identity, longer], sealed, PATH)
    expect(opened).toEqual({ plaintext: Buffer.from("x"), stale: true })
  })

  test("all failures are told", () => {
    const read = () =>
      openStored([shorter, identity, same], shorter.seal(Buffer.alloc(1), "elsewhere"), PATH)
    expect(read).toThrow('aesgcm key "k": message authentication failed')
    const short = Buffer.concat([old.prefix, Buffer.alloc(3)])
    const both = () => openStored([old, same], short, PATH)
    expect(outcome(both)).toBe("ValueCorrupt")
    expect(both).toThrow(/shorter.*; .*shorter/)
  })

  test("a bug is not taken for a key that does not fit", () => {
    const broken = { ...old, open: () => JSON.parse("{") as Buffer }
    expect(() => openStored([broken, same], old.seal(Buffer.alloc(1), PATH), PATH)).toThrow(
      SyntaxError,
    )
  })
})
