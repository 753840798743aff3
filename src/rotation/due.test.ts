import { createSecretKey, randomBytes } from "node:crypto"
import { describe, expect, test } from "vitest"
import { emptyKeyring, type Key, type Keyring } from "../keyring/keyring.ts"
import type { KeyProvider } from "../providers/provider.ts"
import { dueOf, formatAge, type Limits, parseAge, SEALS_MAX } from "./due.ts"
import type { Usage } from "./usage.ts"

const CREATED = "2026-01-01T00:00:00.000Z"
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const authority = { cert: "", key: "" }

function keyringOf(provider: KeyProvider, created = CREATED): Keyring {
  const key: Key = {
    name: "k",
    provider,
    state: "active",
    created,
    secret: createSecretKey(randomBytes(32)),
  }
  const empty = emptyKeyring({ server: authority, client: authority }, { password: "" })
  return { ...empty, keys: [key], writer: "k", intent: "encrypted" }
}

const after = (ms: number, created = CREATED) => new Date(Date.parse(created) + ms)

describe("by age", () => {
  // biome-ignore format: a table
  test.each<[max: string, ageMs: number, warning: RegExp | null, isDue: boolean]>([
    ["90d",  0,                  null,                                          false],
    ["90d",  59 * DAY_MS,        null,                                          false],
    ["90d",  60 * DAY_MS + 1,    /reaches --key-max-age 90d in less than 30 days, at 2026-04-01/, false],
    ["90d",  83 * DAY_MS + 1,    /in less than 7 days/,                         false],
    ["90d",  89 * DAY_MS + 1,    /in less than a day/,                          false],
    ["90d",  90 * DAY_MS - 1,    /in less than a day/,                          false],
    ["90d",  90 * DAY_MS,        /is older than --key-max-age 90d/,             true],
    ["90d",  9000 * DAY_MS,      /is older than --key-max-age 90d/,             true],
    // A warning that would stand from the first day on says nothing.
    ["8d",   0,                  null,                                          false],
    ["8d",   DAY_MS + 1,         /in less than 7 days/,                         false],
    ["12h",  0,                  null,                                          false],
    ["12h",  12 * HOUR_MS - 1,   null,                                          false],
    ["12h",  12 * HOUR_MS,       /is older than --key-max-age 12h/,             true],
    // Clocks that are behind the one that made the key, a little and by far.
    ["90d",  -HOUR_MS,           null,                                          false],
    ["90d",  -9000 * DAY_MS,     /in the future by this server's clock/,        false],
    ["1h",   -2 * DAY_MS,        /in the future by this server's clock/,        false],
  ])("of %s, %d ms old: %s, due %s", (max, ageMs, warning, isDue) => {
    const limits = { keyMaxAgeMs: parseAge(max) ?? null, autoRotate: true }
    const due = dueOf({ keyring: keyringOf("aescbc"), usage: new Map(), now: after(ageMs) }, limits)
    expect(due.warnings).toEqual(warning === null ? [] : [expect.stringMatching(warning)])
    expect(due.turn !== undefined).toBe(isDue)
  })

  test("no clock turns the key that it made itself, and a right one none that a wrong one made", () => {
    const limits = { keyMaxAgeMs: HOUR_MS, autoRotate: true }
    const clocks = ["1970-01-01T00:00:00Z", "2026-06-01T00:00:00Z", "2199-01-01T00:00:00Z"]
    const isDue = (created: string, now: string) =>
      dueOf({ keyring: keyringOf("aescbc", created), usage: new Map(), now: new Date(now) }, limits)
        .turn !== undefined
    for (const [i, made] of clocks.entries())
      for (const [j, now] of clocks.entries()) {
        expect(isDue(made, now), `${made} ${now}`).toBe(j > i)
        // Of two clocks only one finds the other's keys due, so they never turn them in turns.
        expect(isDue(made, now) && isDue(now, made)).toBe(false)
      }
  })
})

describe("by what was sealed", () => {
  // biome-ignore format: a table
  test.each<[KeyProvider, clients: number, rewriting: number, warning: RegExp | null, isDue: boolean]>([
    ["aesgcm",    0,       0,          null,                 false],
    ["aesgcm",    99_999,  0,          null,                 false],
    ["aesgcm",    100_000, 0,          /sealed 50 % or more of the 200000 values/, false],
    ["aesgcm",    50_000,  50_000,     /sealed 50 % or more/,  false],
    ["aesgcm",    199_999, 0,          /sealed 90 % or more/,  false],
    ["aesgcm",    200_000, 0,          /sealed 100 % or more/, true],
    ["aesgcm",    100_000, 100_000,    /sealed 100 % or more/, true],
    // With a million stored values a rotation alone makes more: it is no reason for the next one.
    ["aesgcm",    0,       1_000_000,  /sealed 100 % or more/, false],
    ["aesgcm",    999_999, 1_000_000,  /sealed 100 % or more/, false],
    ["aesgcm",    1_000_000, 1_000_000, /sealed 100 % or more/, true],
    ["aescbc",    900_000, 900_000,    null,                 false],
    ["secretbox", 900_000, 900_000,    null,                 false],
  ])("%s, %d by clients and %d by rewriting: %s, due %s", (provider, clients, rewriting, warning, isDue) => {
    const usage: Usage = new Map([["k", { clients, rewriting }]])
    const limits: Limits = { keyMaxAgeMs: null, autoRotate: true }
    const due = dueOf({ keyring: keyringOf(provider), usage, now: after(0) }, limits)
    expect(due.warnings).toEqual(warning === null ? [] : [expect.stringMatching(warning)])
    expect(due.turn).toEqual(
      isDue ? { key: "k", reason: `it has sealed ${clients + rewriting} values` } : undefined,
    )
  })
})

test("where rewriting alone sealed as many as a key is for, nothing turns it by itself, and it is told how", () => {
  const limits = { keyMaxAgeMs: null, autoRotate: true }
  const warnings = (rewriting: number, clients = 0) => {
    const usage: Usage = new Map([["k", { clients, rewriting }]])
    return dueOf({ keyring: keyringOf("aesgcm"), usage, now: after(0) }, limits).warnings
  }
  const told = [expect.stringMatching(/is for; turn it: \S+ secrets-encrypt rotate-keys$/)]
  expect(warnings(SEALS_MAX)).toEqual(told)
  const untold = [expect.stringMatching(/is for$/)]
  expect(warnings(SEALS_MAX / 2)).toEqual(untold)
  expect(warnings(SEALS_MAX, SEALS_MAX)).toEqual(untold)
})

test("what does not write is not due, and who must turn it himself is told how", () => {
  const usage: Usage = new Map([["k", { clients: SEALS_MAX, rewriting: 0 }]])
  const keyring = keyringOf("aesgcm")
  const limits = { keyMaxAgeMs: HOUR_MS, autoRotate: false }
  const now = after(DAY_MS)
  expect(dueOf({ keyring: { ...keyring, intent: "plain" }, usage, now }, limits)).toEqual({
    warnings: [],
    turn: undefined,
  })
  const { warnings } = dueOf({ keyring, usage, now }, limits)
  expect(warnings).toHaveLength(2)
  for (const warning of warnings)
    expect(warning).toMatch(/^the key "k" .*; turn it: keyturn secrets-encrypt rotate-keys$/)
})

// biome-ignore format: a table
test.each([
  ["90d", 90 * DAY_MS, "90d"], ["12h", 12 * HOUR_MS, "12h"], ["48h", 2 * DAY_MS, "2d"],
  ["0d", undefined], ["90", undefined], ["90m", undefined], ["-1d", undefined], ["1.5d", undefined], ["", undefined],
] as const)("the age %s", (text, ms, shown?) => {
  expect(parseAge(text)).toBe(ms)
  if (ms !== undefined) expect(formatAge(ms)).toBe(shown)
})
