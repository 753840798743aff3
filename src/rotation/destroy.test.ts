import { createSecretKey, randomBytes } from "node:crypto"
import { expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import {
  archive,
  emptyKeyring,
  type Key,
  newKey,
  withKey,
  withKeysTakenIn,
} from "../keyring/keyring.ts"
import { alreadyDestroyed, destroyed } from "./destroy.ts"

const now = new Date("2026-11-28T12:00:00Z")
const pair = { cert: "", key: "" }
const key = (name: string): Key => ({
  name,
  provider: "aescbc",
  state: "active",
  created: "2026-01-01T00:00:00Z",
  secret: createSecretKey(randomBytes(32)),
})
const old = key("old")
const keys = [old, key("left"), key("writer")].reduce(
  withKey,
  emptyKeyring({ server: pair, client: pair }, { password: "" }),
)
const keyring = archive({ ...keys, writer: "writer", intent: "encrypted" }, ["old"])
const NOTHING = { stored: 0, names: [] }

function outcome(act: () => unknown): unknown {
  try {
    return act()
  } catch (error) {
    if (isKnown(error)) return error.code
    throw error
  }
}

// biome-ignore format: a table
test.each([
  ["nobody", NOTHING,                        "NotFound"],
  ["left",   NOTHING,                        "KeyNotArchived"],
  ["writer", NOTHING,                        "KeyNotArchived"],
  ["old",    { stored: 1, names: ["/a/b"] }, "KeyInUse"],
])("%s with %j under it is refused: %s", (name, under, code) => {
  expect(outcome(() => destroyed(keyring, { name, under, now }))).toBe(code)
})

test("what still needs it is said, by number and by name", () => {
  const names = Array.from({ length: 12 }, (_, n) => `/registry/secrets/a/s${n}`)
  const under = { stored: 30, names }
  expect(() => destroyed(keyring, { name: "old", under, now })).toThrow(
    `30 stored values need the key "old": ${names.slice(0, 10).join(", ")}, and more`,
  )
})

test("of a destroyed key the name stays, and its bytes come back by no file", () => {
  const after = destroyed(keyring, { name: "old", under: NOTHING, now })
  expect(after.keys.map(({ name }) => name)).toEqual(["left", "writer"])
  const created = "2026-01-01T00:00:00Z"
  const left = { name: "old", provider: "aescbc", created, destroyed: now.toISOString() }
  expect(after.destroyed).toEqual([left])
  expect(alreadyDestroyed(after, "old")).toEqual(left)
  expect(destroyed(after, { name: "old", under: { stored: 9, names: [] }, now })).toBe(after)
  expect(withKeysTakenIn(after, [old])).toBe(after)
})

test("a name that was destroyed is given to no new key", () => {
  const at = { provider: "aescbc", now } as const
  const made = newKey(keyring, at)?.name ?? ""
  const gone = { name: made, provider: "aescbc", created: "", destroyed: "" } as const
  expect(newKey({ ...keyring, destroyed: [gone] }, at)).toBeUndefined()
  const alone = { ...emptyKeyring(keyring.authorities, { password: "" }), destroyed: [gone] }
  expect(newKey(alone, { ...at, now: new Date(0) })?.name).not.toBe("aescbckey")
})
