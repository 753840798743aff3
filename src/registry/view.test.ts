import { createSecretKey, randomBytes } from "node:crypto"
import { expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { emptyKeyring, withKey } from "../keyring/keyring.ts"
import { makeView, openObject } from "./view.ts"

const PATH = "/registry/secrets/default/s"
const OBJECT = Buffer.from("k8s\0 an object")
const pair = { cert: "", key: "" }
const nothing = emptyKeyring({ server: pair, client: pair }, { password: "" })

/** Of another secret each time, under one name. */
function viewOfAnother() {
  const secret = createSecretKey(randomBytes(32))
  const key = { name: "key1", provider: "aescbc", state: "active", created: "", secret } as const
  const keyring = { ...withKey(nothing, key), writer: key.name, intent: "encrypted" } as const
  return makeView({ epoch: 1, fence: "", slots: [], keyring }, "")
}

test("no wrong key opens an object, though AES-CBC opens one in 256 to something", () => {
  const own = viewOfAnother()
  const { value } = own.seal(PATH, OBJECT)
  const others = Array.from({ length: 5_000 }, viewOfAnother)
  const opening = (open: (view: (typeof others)[number]) => void) =>
    others.filter((other) => {
      try {
        open(other)
        return true
      } catch (error) {
        if (isKnown(error)) return false
        throw error
      }
    }).length
  expect(opening((other) => other.open(PATH, value))).toBeGreaterThan(0)
  expect(opening((other) => openObject(other, PATH, value))).toBe(0)
  expect(openObject(own, PATH, value)).toEqual(OBJECT)
})
