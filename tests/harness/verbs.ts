/** What verbs need beside the keyring, for one server that publishes nothing. */
import type { Keys } from "../../src/registry/keys.ts"
import type { VerbParts } from "../../src/rewriter/take-verb.ts"

export const verbsOf = (keys: Keys, now: () => Date): VerbParts => ({
  keys,
  nodeName: "server-1",
  provider: "aescbc",
  now,
  mismatch: async () => undefined,
  publish: async () => {},
  taken: () => {},
})

export const CALLER = { user: "server", address: "127.0.0.1" } as const
