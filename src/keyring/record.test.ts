import { createSecretKey, randomBytes } from "node:crypto"
import { inspect } from "node:util"
import { expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { emptyKeyring, type Keyring, newKey, rfc3339, withKey } from "./keyring.ts"
import { newClusterKey, newFence, openRecord, readOutside, sealRecord } from "./record.ts"
import { makeServerSlot, makeSlot, openSlot, sealSlot, unlock } from "./slots.ts"

const now = new Date("2026-11-23T21:00:00Z")
const pair = { cert: "CERT", key: "PRIVATE" }
const empty = emptyKeyring({ server: pair, client: pair }, { password: "pw" })
const first = newKey(empty, { provider: "aescbc", now })
const keyring: Keyring = first ? withKey(empty, first) : empty
const codeOf = async (run: () => unknown) => {
  try {
    await run()
    return "nothing thrown"
  } catch (error) {
    return isKnown(error) ? error.code : String(error)
  }
}

test("a record opens to what was sealed, by its token and by its recovery key", async () => {
  const clusterKey = newClusterKey()
  const slots = [
    await makeSlot({ kind: "token", secret: "the token", now }),
    await makeSlot({ kind: "recovery", secret: "the recovery key", now }),
  ]
  const record = { epoch: 3, fence: newFence(), slots, keyring }
  const stored = sealRecord(record, clusterKey)
  expect(openRecord(stored, clusterKey)).toEqual(record)
  for (const by of [
    { kind: "token", secret: "the token" },
    { kind: "recovery", secret: "the recovery key" },
  ] as const)
    expect((await unlock(readOutside(stored).slots, by)).equals(clusterKey)).toBe(true)
  const wrong = unlock(readOutside(stored).slots, { kind: "token", secret: "another" })
  await expect(wrong).rejects.toThrow(
    "opens by: server token of 2026-11-23T21:00:00.000Z, recovery key of",
  )
  expect(await codeOf(() => wrong)).toBe("SlotDidNotOpen")
  const crossed = unlock(readOutside(stored).slots, { kind: "recovery", secret: "the token" })
  expect(await codeOf(() => crossed)).toBe("SlotDidNotOpen")
})

test("nothing outside of the box can be changed, and no byte of the box", () => {
  const clusterKey = newClusterKey()
  const stored = sealRecord({ epoch: 1, fence: newFence(), slots: [], keyring }, clusterKey)
  const changed = (change: (record: Record<string, unknown>) => void) => {
    const record = JSON.parse(stored.toString())
    change(record)
    return Buffer.from(JSON.stringify(record))
  }
  const corrupt = [
    changed((record) => (record.epoch = 2)),
    changed((record) => (record.fence = newFence())),
    changed((record) => (record.format = "keyturn.io/keyring/v2")),
    changed((record) => (record.box = randomBytes(200).toString("base64"))),
    changed((record) => delete record.box),
    changed((record) => (record.slots = [null])),
    changed((record) => (record.slots = [{ kind: "token" }])),
    Buffer.from("{"),
    Buffer.alloc(0),
  ]
  for (const bytes of corrupt) expect(() => openRecord(bytes, clusterKey)).toThrow(/keyring record/)
  expect(() => openRecord(stored, newClusterKey())).toThrow(/does not open under the cluster key/)
})

test("a server's slot gives the cluster key to its secret, and to no other", () => {
  const clusterKey = newClusterKey()
  const [own, other] = [makeServerSlot("s1", now), makeServerSlot("s1", now)]
  const record = { epoch: 1, fence: newFence(), slots: [own.slot], keyring }
  const [sealed] = readOutside(sealRecord(record, clusterKey)).slots
  if (sealed === undefined) throw new Error("no slot")
  expect(openSlot(sealed, own.secret)?.equals(clusterKey)).toBe(true)
  expect(openSlot(sealed, other.secret)).toBeUndefined()
  expect(openSlot({ ...sealed, id: "s2" }, own.secret)).toBeUndefined()
  expect(openSlot({ ...sealed, sealed: "" }, own.secret)).toBeUndefined()
})

test("an earlier box opens no later record, and a public half alone closes none", async () => {
  const slots = [
    await makeSlot({ kind: "recovery", secret: "the recovery key", now }),
    makeServerSlot("s1", now).slot,
  ]
  const later = newClusterKey()
  const sealed = slots.map((slot) => sealSlot(slot, later))
  const thief = makeServerSlot("thief", now).secret
  for (const [n, { slotKey }] of slots.entries()) {
    const slot = sealed[n]
    expect(slot && openSlot(slot, { ...thief, slotKey })).toBeUndefined()
  }
  const [own, stranger] = [makeServerSlot("s1", now), makeServerSlot("s1", now)]
  const forged = sealSlot({ ...own.slot, slotKey: stranger.slot.slotKey }, newClusterKey())
  expect(openSlot(forged, own.secret)).toBeUndefined()
})

test("no key byte stands outside of the box, nor in what a log would print of a keyring", () => {
  const stored = sealRecord({ epoch: 1, fence: newFence(), slots: [], keyring }, newClusterKey())
  const secret = keyring.keys[0]?.secret.export() ?? Buffer.alloc(0)
  for (const form of ["base64", "hex", "latin1"] as const) {
    expect(stored.toString()).not.toContain(secret.toString(form))
    expect(inspect(keyring, { depth: 9 }) + JSON.stringify(keyring)).not.toContain(
      secret.toString(form),
    )
  }
  expect(stored.toString()).not.toContain("PRIVATE")
})

test("key names: the first is bare, later ones carry the local time, and a taken one is not given", () => {
  expect(first?.name).toBe("aescbckey")
  const second = newKey(keyring, { provider: "secretbox", now })
  expect(second?.name).toBe(`secretboxkey-${rfc3339(now)}`)
  expect(rfc3339(now)).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/)
  expect(new Date(rfc3339(now)).getTime()).toBe(now.getTime())
  if (second)
    expect(newKey(withKey(keyring, second), { provider: "secretbox", now })).toBe(undefined)
})

test("a name that stands for other bytes is refused, the same key is taken once", async () => {
  if (!first) throw new Error("no first key")
  expect(withKey(keyring, first)).toBe(keyring)
  const other = { ...first, secret: createSecretKey(randomBytes(32)) }
  expect(await codeOf(() => withKey(keyring, other))).toBe("KeyNameTaken")
})
