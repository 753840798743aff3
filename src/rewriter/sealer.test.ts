import { createSecretKey, randomBytes } from "node:crypto"
import { expect, test } from "vitest"
import { emptyKeyring, type Key, withKey } from "../keyring/keyring.ts"
import { makeView } from "../registry/view.ts"
import { makeTarget, type Stale } from "./rewrite.ts"
import { Sealer } from "./sealer.ts"

const pair = { cert: "", key: "" }
const key = (provider: Key["provider"]): Key => ({
  name: provider,
  provider,
  state: "active",
  created: "",
  secret: createSecretKey(randomBytes(32)),
})
const keyring = [key("aescbc"), key("aesgcm"), key("secretbox")].reduce(
  withKey,
  emptyKeyring({ server: pair, client: pair }, { password: "" }),
)

const plaintextOf = (n: number) => Buffer.from(`k8s\0${"x".repeat(n * 7)}`)

test.each(["aescbc", "aesgcm", "secretbox", null])(
  "few values, many in a thread: each is sealed in its own place under %s, and what does not open is named",
  async (writer) => {
    const intent = writer === null ? "plain" : "encrypted"
    const view = makeView(
      { epoch: 1, fence: "", slots: [], keyring: { ...keyring, writer, intent } },
      "",
    )
    const from = writer === "aesgcm" ? "aescbc" : "aesgcm"
    const staleOf = (n: number): Stale => {
      const at = { key: `/registry/secrets/default/${n}`, revision: n, column: "value" } as const
      const expected = view.provider(from).seal(plaintextOf(n), at.key)
      return { ...at, expected: n % 10 === 3 ? expected.subarray(0, 20) : expected }
    }
    await using sealer = new Sealer(makeTarget(view))
    for (const count of [20, 250, 30]) {
      const stale = Array.from({ length: count }, (_, n) => staleOf(n))
      const { replacements, unreadable } = await sealer.seal(stale)
      const readable = stale.filter(({ revision }) => revision % 10 !== 3)
      expect(replacements.map(({ replacement: _, ...one }) => one)).toEqual(readable)
      for (const { key, revision, replacement } of replacements)
        expect(view.provider(writer).open(Buffer.from(replacement), key)).toEqual(
          plaintextOf(revision),
        )
      expect(unreadable).toEqual(
        stale
          .filter((one) => !readable.includes(one))
          .map(({ key }) => ({ key, why: expect.stringContaining(key) })),
      )
    }
  },
)
