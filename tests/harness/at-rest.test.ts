import { createSecretKey, randomBytes } from "node:crypto"
import { expect, test } from "vitest"
import { encodeObject } from "../../src/format/codec.ts"
import { emptyKeyring, type Keyring } from "../../src/keyring/keyring.ts"
import type { Secret } from "../../src/format/object.ts"
import { makeView } from "../../src/registry/view.ts"
import { type AtRest, lostSince, notUnderTheWriter, wrongAtRest } from "./at-rest.ts"

const key = (name: string, state: "active" | "archived") => {
  const secret = createSecretKey(randomBytes(32))
  return { name, provider: "aescbc", state, created: "", secret } as const
}
const pair = { cert: "", key: "" }
const keyring: Keyring = {
  ...emptyKeyring({ server: pair, client: pair }, { password: "" }),
  keys: [key("old", "archived"), key("new", "active")],
  writer: "new",
  intent: "encrypted",
}
const viewOf = (of: Keyring) => makeView({ epoch: 1, fence: "f", slots: [], keyring: of }, "")
const NAME = "/registry/secrets/default/s"
const metadata = { namespace: "default", name: "s" }
const object: Secret = { kind: "Secret", apiVersion: "v1", metadata }
const plaintext = encodeObject(object)
const under = (name: string | null, of = keyring) => viewOf(of).provider(name).seal(plaintext, NAME)
const at = (bytes: Buffer, path = NAME): AtRest => ({
  view: viewOf(keyring),
  fence: "f",
  stored: [{ key: path, bytes }],
})

test("what is right is found right", () => {
  const now = at(under("new"))
  expect([...wrongAtRest(now), ...notUnderTheWriter(now), ...lostSince(now, now)]).toEqual([])
})

test("each wrong is found", () => {
  const other = { ...keyring, keys: [key("new", "active")] }
  const stranger = { ...keyring, keys: [...keyring.keys, key("stranger", "active")] }
  expect(wrongAtRest(at(under("stranger", stranger)))).toContain(
    `${NAME} is under stranger, which no record holds`,
  )
  expect(wrongAtRest({ ...at(under("new")), fence: "g" })).toEqual([
    "the fence is not the keyring's",
  ])
  expect(wrongAtRest(at(under("new", other)))).toHaveLength(1)
  expect(wrongAtRest(at(under("new"), `${NAME}2`))).toEqual([`what opened at ${NAME}2 is ${NAME}`])
  expect(wrongAtRest(at(under("old")))).toEqual([`${NAME} is under old, retired`])
  expect(notUnderTheWriter(at(under(null)))).toEqual([`${NAME} is under no key, and new writes`])
  const before = at(under("new"))
  const lost = { ...before, view: viewOf(other) }
  expect(lostSince(before, lost)).toEqual(["old is lost", "new is lost"])
  const authorities = { server: { cert: "x", key: "" }, client: pair }
  const elsewhere = { ...before, view: viewOf({ ...keyring, authorities }) }
  expect(lostSince(before, elsewhere)).toEqual(["the CAs are others"])
})
