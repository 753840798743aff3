import { createSecretKey, randomBytes } from "node:crypto"
import fc from "fast-check"
import { expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import {
  emptyKeyring,
  type Key,
  type Keyring,
  STAGES,
  type Stage,
  type WayBack,
  writingKey,
} from "../keyring/keyring.ts"
import { isRunning, type Operation, startOperation, VERBS, type Verb } from "./operation.ts"
import { afterProof, keyStillNeeded } from "./retire.ts"
import { decide, type Decision, type Situation, VERB_TABLE } from "./verbs.ts"

const key = (name: string): Key => ({
  name,
  provider: "aescbc",
  state: "active",
  created: "2026-11-23T00:00:00Z",
  secret: createSecretKey(randomBytes(32)),
})
const pair = { cert: "", key: "" }
const none = emptyKeyring({ server: pair, client: pair }, { password: "pw" })
const enabled: Keyring = { ...none, keys: [key("k1")], writer: "k1", intent: "encrypted" }
const seen = (keyring: Keyring, more: Partial<Situation> = {}): Situation => ({
  keyring,
  operation: undefined,
  freshKey: key("fresh"),
  mismatch: undefined,
  ...more,
})
const operation = (retires: boolean): Operation => ({
  ...startOperation({
    id: "1",
    holder: "s1",
    kind: "enable",
    target: "k1",
    retires,
    now: new Date(0),
  }),
  upTo: 1,
  fence: "f",
})
const ask = (verb: Verb, situation: Situation, flags = {}) =>
  decide({ verb, force: false, skip: false, ...flags }, situation)
const outcome = (run: () => Decision): string => {
  try {
    return run().outcome
  } catch (error) {
    return isKnown(error) ? error.code : String(error)
  }
}

const FROM_K1: WayBack = { writer: "k1", stage: "reencrypt_finished", rewrites: false }
const nextOf = (decision: Decision): Keyring =>
  decision.outcome === "step" ? decision.keyring : expect.unreachable(decision.outcome)

test("every verb at every stage does what its row says", () => {
  for (const verb of VERBS)
    for (const stage of STAGES) {
      const begun = !VERB_TABLE["rotate-keys"].from.some((begins) => begins === stage)
      const wayBack = begun ? FROM_K1 : null
      const keyring: Keyring = { ...enabled, keys: [key("k1"), key("k2")], stage, wayBack }
      const row = VERB_TABLE[verb]
      const from: readonly string[] = row.from
      const own: readonly string[] = row.own
      const expected =
        verb === "enable" || own.includes(stage)
          ? "nothing"
          : verb === "disable" || from.includes(stage)
            ? "step"
            : "WrongStage"
      expect(
        outcome(() => ask(verb, seen(keyring))),
        `${verb} at ${stage}`,
      ).toBe(expected)
    }
})

test("while a retiring operation runs every change is refused with its progress", () => {
  const situation = seen({ ...enabled, stage: "reencrypt_active" }, { operation: operation(true) })
  const others = new Set<Verb>(["enable", "reencrypt", "abort"])
  for (const verb of VERBS.filter((name) => !others.has(name)))
    for (const force of [false, true])
      expect(
        outcome(() => ask(verb, situation, { force })),
        verb,
      ).toBe("RotationUnderWay")
  expect(outcome(() => ask("reencrypt", situation))).toBe("nothing")
  expect(outcome(() => ask("reencrypt", situation, { skip: true }))).toBe("RotationUnderWay")
})

test("a rewrite whose record was lost is begun again, by the verb that every refusal names", () => {
  const situation = seen({ ...enabled, stage: "reencrypt_active" })
  expect(() => ask("rotate-keys", situation)).toThrow("next: keyturn secrets-encrypt reencrypt")
  expect(ask("reencrypt", situation)).toMatchObject({
    starts: { kind: "reencrypt", retires: true },
  })
})

test("after an abort reencrypt is no success at the end of the rotation before: values lie under the other key", () => {
  const aborted = seen({ ...enabled, stage: "reencrypt_finished", wayBack: "gone" })
  expect(() => ask("reencrypt", aborted)).toThrow("next: keyturn secrets-encrypt rotate-keys")
  expect(outcome(() => ask("reencrypt", aborted))).toBe("WrongStage")
  const rewritten = { ...enabled, stage: "reencrypt_active", wayBack: "gone" } as const
  const runs = seen(rewritten, { operation: operation(true) })
  expect(outcome(() => ask("reencrypt", runs))).toBe("nothing")
})

test("reencrypt --vacuum has something to do at the end of a rotation, and skips no stage", () => {
  const at = (stage: Stage) => seen({ ...enabled, stage })
  const vacuum = (stage: Stage) => outcome(() => ask("reencrypt", at(stage), { vacuum: true }))
  expect(outcome(() => ask("reencrypt", at("reencrypt_finished")))).toBe("nothing")
  expect(ask("reencrypt", at("reencrypt_finished"), { vacuum: true })).toMatchObject({
    keyring: { stage: "reencrypt_active" },
    starts: { kind: "reencrypt", retires: true },
  })
  expect([vacuum("start"), vacuum("prepare")]).toEqual(["WrongStage", "WrongStage"])
})

test("a rewrite that retires nothing is taken over", () => {
  const situation = seen(enabled, { operation: operation(false) })
  expect(ask("disable", situation)).toMatchObject({
    outcome: "step",
    movesFence: true,
    target: null,
  })
  expect(ask("rotate-keys", situation)).toMatchObject({
    starts: { kind: "rotate-keys", retires: true },
  })
  const prepared: Keyring = { ...enabled, keys: [key("k1"), key("k2")], stage: "prepare" }
  const rotated = ask("rotate", seen(prepared, { operation: operation(false) }))
  expect(rotated).toMatchObject({ target: "k2", starts: { kind: "enable", retires: false } })
})

/** The verbs up to a stage before the retirement, from k1 at rest; a fresh key is named after its verb. */
const begun = (...steps: readonly Verb[]): Keyring =>
  steps.reduce(
    (keyring, verb) => nextOf(ask(verb, seen(keyring, { freshKey: key(verb) }), { force: true })),
    { ...enabled, stage: "reencrypt_finished" } as Keyring,
  )
const names = ({ keys }: Keyring) => keys.map(({ name }) => name)

// biome-ignore format: a table
const ABORTED: readonly (readonly [readonly Verb[], movesFence: boolean, keys: readonly string[]])[] = [
  [["prepare"],                        false, ["prepare", "k1"]],
  [["prepare", "rotate"],              true,  ["prepare", "k1"]],
  [["prepare", "rotate", "reencrypt"], true,  ["prepare", "k1"]],
  [["rotate-keys"],                    true,  ["rotate-keys", "k1"]],
  [["prepare", "rotate", "reencrypt", "rotate-keys"], true, ["prepare", "rotate-keys", "k1"]],
]

test.each(ABORTED)(
  "abort after %j leads back to the key and the stage of before",
  (steps, movesFence, all) => {
    const runs = { ...operation(true), kind: "rotate-keys" } as const
    const before = begun(...steps)
    const decision = ask("abort", seen(before, { operation: movesFence ? runs : undefined }))
    expect(decision).toMatchObject({ movesFence, target: "k1", starts: undefined })
    const after = nextOf(decision)
    expect(after).toMatchObject({ writer: "k1", stage: "reencrypt_finished", wayBack: "gone" })
    expect(names(after)).toEqual(all)
    expect(after.keys.map(({ state }) => state)).toEqual(all.map(() => "active"))
  },
)

test("abort repeated changes nothing; with nothing to abort it is refused; the next rotation may be aborted again", () => {
  const aborted = nextOf(ask("abort", seen(begun("rotate-keys"))))
  expect(outcome(() => ask("abort", seen(aborted)))).toBe("nothing")
  expect(outcome(() => ask("abort", seen(enabled)))).toBe("WrongStage")
  expect(() => ask("abort", seen(enabled, { operation: operation(false) }))).toThrow(
    "disable takes",
  )
  expect(outcome(() => ask("abort", seen({ ...enabled, intent: "plain" })))).toBe(
    "EncryptionDisabled",
  )
  const again = nextOf(ask("rotate-keys", seen(aborted, { freshKey: key("k3") })))
  expect(ask("abort", seen(again))).toMatchObject({ target: "k1" })
  const counts = new Map(names(again).map((n) => [n, 0]))
  const { keyring } = afterProof(again, operation(true), { counts, unencrypted: 0, revision: 9 })
  expect(outcome(() => ask("abort", seen(keyring)))).toBe("WrongStage")
  expect(keyring.keys.filter(({ state }) => state === "archived").map(({ name }) => name)).toEqual([
    "rotate-keys",
    "k1",
  ])
})

test("what a barrier that was never reached would prove is not proven", () => {
  const forged = { ...operation(true), upTo: Number.MAX_SAFE_INTEGER }
  const counts = new Map([["k1", 0]])
  const { keyring, proof } = afterProof(enabled, forged, { counts, unencrypted: 0, revision: 9 })
  expect({ proven: keyring.proven, of: proof.revision }).toEqual({ proven: 9, of: 9 })
})

test("an aborted key is not rotated to, whatever is forced", () => {
  const aborted = nextOf(ask("abort", seen(begun("prepare"))))
  expect(outcome(() => ask("rotate", seen(aborted), { force: true }))).toBe("WrongStage")
  const prepared = nextOf(ask("prepare", seen(aborted, { freshKey: key("k3") })))
  expect(ask("rotate", seen(prepared))).toMatchObject({ target: "k3" })
})

test("abort lets no rewrite of before fall: what is left in plain text is come to", () => {
  const operating = { operation: operation(false) }
  const takenOver = nextOf(ask("rotate-keys", seen(enabled, operating)))
  const rewrites = { starts: { kind: "reencrypt", retires: false }, target: "k1" }
  expect(ask("abort", seen(takenOver, { operation: operation(true) }))).toMatchObject(rewrites)
  const off = nextOf(ask("disable", seen(begun("prepare", "rotate"))))
  const on = nextOf(ask("enable", seen(off)))
  expect(ask("abort", seen(on, operating))).toMatchObject(rewrites)
  const prepared = nextOf(ask("prepare", seen(enabled, operating)))
  expect(ask("abort", seen(prepared, operating))).toMatchObject({
    movesFence: false,
    starts: undefined,
  })
})

test("a rotation that K3s began leads back to where another may begin", () => {
  const imported: Keyring = { ...enabled, keys: [key("k1"), key("k2")], stage: "prepare" }
  const aborted = nextOf(ask("abort", seen(nextOf(ask("rotate", seen(imported))))))
  expect(aborted).toMatchObject({ writer: "k1", stage: "start" })
})

test("a mismatch of hashes stops the ordered verbs and --force passes over it", () => {
  const mismatch = "hash does not match between a and b"
  expect(outcome(() => ask("prepare", seen(enabled, { mismatch })))).toBe("HashMismatch")
  expect(outcome(() => ask("prepare", seen(enabled, { mismatch }), { force: true }))).toBe("step")
  expect(outcome(() => ask("disable", seen(enabled, { mismatch })))).toBe("step")
})

test("enable makes a key where none has written yet: those that are there are for reading", () => {
  const keyring: Keyring = { ...none, keys: [key("k1"), key("k2")] }
  expect(ask("enable", seen(keyring))).toMatchObject({ target: "fresh" })
})

test("disabled: keys cannot be turned, all of them stay, enable goes back to the one that wrote", () => {
  const disabled: Keyring = { ...enabled, intent: "plain" }
  for (const verb of ["prepare", "rotate", "reencrypt", "rotate-keys"] as const)
    expect(
      outcome(() => ask(verb, seen(disabled))),
      verb,
    ).toBe("EncryptionDisabled")
  expect(ask("reencrypt", seen(disabled), { force: true, skip: true })).toMatchObject({
    target: null,
    starts: { retires: false },
  })
  expect(ask("reencrypt", seen(disabled), { force: true })).toMatchObject({
    starts: { retires: false },
  })
  expect(ask("enable", seen(disabled))).toMatchObject({
    keyring: { writer: "k1", intent: "encrypted" },
  })
})

test("a name taken for this second is waited for", () => {
  expect(outcome(() => ask("prepare", seen(enabled, { freshKey: undefined })))).toBe("wait")
  expect(outcome(() => ask("rotate-keys", seen(enabled, { freshKey: undefined })))).toBe("wait")
  expect(outcome(() => ask("enable", seen(none, { freshKey: undefined })))).toBe("wait")
  expect(
    outcome(() => ask("rotate", seen(enabled, { freshKey: undefined }), { force: true })),
  ).toBe("WrongStage")
})

test("I4: a key with stored bytes, or that was not looked for, is kept", () => {
  expect(keyStillNeeded(enabled, new Map([["k2", 0]]), "k2")).toBe(false)
  expect(keyStillNeeded(enabled, new Map([["k2", 1]]), "k2")).toBe(true)
  expect(keyStillNeeded(enabled, new Map(), "k2")).toBe(true)
  expect(keyStillNeeded(enabled, new Map([["k1", 0]]), "k1")).toBe(true)
})

const verbs = fc.array(
  fc.record({
    verb: fc.constantFrom(...VERBS),
    force: fc.boolean(),
    skip: fc.boolean(),
    finishes: fc.boolean(),
    left: fc.nat(2),
  }),
  { maxLength: 40 },
)

test("whatever the order: the writer is there and active, no key is lost, and the fence moves with the writer", () => {
  fc.assert(
    fc.property(verbs, (requests) => {
      let situation = seen(none)
      for (const [i, { finishes, left, ...request }] of requests.entries()) {
        const before = situation.keyring
        try {
          const decision = decide(request, { ...situation, freshKey: key(`k${i}`) })
          if (decision.outcome === "step") {
            const moved = writingKey(decision.keyring)?.name !== writingKey(before)?.name
            if (moved) expect(decision.movesFence).toBe(true)
            situation = seen(decision.keyring, {
              operation: decision.starts
                ? {
                    ...startOperation({
                      id: `${i}`,
                      holder: "s1",
                      target: decision.target,
                      ...decision.starts,
                      now: new Date(0),
                    }),
                    upTo: 1,
                    fence: "f",
                  }
                : situation.operation,
            })
          }
        } catch (error) {
          expect(isKnown(error)).toBe(true)
        }
        if (finishes && isRunning(situation.operation)) {
          const counts = new Map(
            situation.keyring.keys.map(({ name }, n) => [name, n % (left + 1)]),
          )
          const { keyring } = afterProof(situation.keyring, situation.operation, {
            counts,
            unencrypted: 0,
            revision: 9,
          })
          situation = seen(keyring, { operation: { ...situation.operation, state: "finished" } })
        }
        holds(before, situation.keyring)
      }
    }),
  )
})

function holds(before: Keyring, after: Keyring): void {
  const names = after.keys.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
  for (const { name } of before.keys) expect(names).toContain(name)
  if (after.intent === "encrypted") expect(writingKey(after)?.state).toBe("active")
}
