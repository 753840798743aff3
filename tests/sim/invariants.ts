/** I1 to I7 (docs/invariants.md), each as one function of what the datastore held before and after one event. They return what is
 *  wrong, a sentence each. None trusts what a server says: all of it is read from the stored bytes. */
import { type Ledger, newRows } from "./ledger.ts"
import type { Placed, Seen, SeenRow } from "./observer.ts"
import { isSecret } from "./secret.ts"

export interface Event {
  readonly before: Seen
  readonly now: Seen
  readonly ledger: Ledger
}

export type Invariant = (event: Event) => string[]

/** A key writes only after the record that holds it is durable. */
export const i1: Invariant = ({ now }) =>
  now.texts
    .filter(({ text: { under } }) => under !== null && keyNamed(now, under) === undefined)
    .map((placed) => `${at(placed)} is ${underOf(placed)}, which no record holds`)

/** No encrypted value is committed by a writer whose fence is not current: what comes new is under the key that writes at that
 *  moment, and the fence is the one that the keyring names. */
export const i2: Invariant = ({ before, now }) => {
  if (now.keyring === undefined) return []
  const isFence = now.fences.named === now.fences.stored
  return [
    ...(isFence ? [] : ["the fence is not the one that the keyring names"]),
    ...newTexts(before, now)
      .filter(({ text }) => text.under !== now.writer)
      .map(
        (placed) => `${at(placed)} came ${underOf(placed)} while ${keyOrNone(now.writer)} writes`,
      ),
  ]
}

/** Every stored value opens with the keys in the record. */
export const i3: Invariant = ({ now }) =>
  now.texts
    .filter(({ text, row }) => text.write === undefined && isSecret(row.key))
    .map((placed) => `${at(placed)} does not open`)

/** A key is retired only when no stored byte is under it; and from then on none is. */
export const i4: Invariant = ({ now }) => {
  const archived = new Set(
    now.keyring?.keys.filter(({ state }) => state === "archived").map(({ name }) => name),
  )
  return now.texts
    .filter(({ text: { under } }) => under !== null && archived.has(under))
    .map((placed) => `${at(placed)} is ${underOf(placed)}, which is retired`)
}

/** Rewriting changes no plaintext, brings no deleted object back and loses no write; and nothing happens that nobody asked for. */
export const i5: Invariant = ({ before, now, ledger }) => [
  ...newRows(before, now).flatMap((row) => unasked(row, ledger)),
  ...now.rows.flatMap((row) => changed(row, ledger)),
  ...lost(now, ledger),
]

/** A rotation that has ended by itself has left nothing to do by hand: where all opens, no key is kept. And it takes no second
 *  round, but for rows that a copy brought back. */
export const i6: Invariant = ({ before, now: { operation }, ledger }) => {
  if (operation === undefined || operation.unreadable > 0) return []
  const isAgain = operation.id === before.operation?.id && operation.pass < before.operation.pass
  if (isAgain && ledger.restores === 0)
    return [`${operation.kind} makes its passes again, and no copy was put back`]
  if (operation.state !== "finished") return []
  return Object.keys(operation.kept).map((name) => `${operation.kind} has ended and kept "${name}"`)
}

/** What I6 wants of a rotation while nobody writes. */
export const leftBy = ({ texts, keyring }: Seen): string[] =>
  texts
    .filter(({ text, row }) => isSecret(row.key) && text.under !== keyring?.writer)
    .map((placed) => `after the last rotation ${at(placed)} is ${underOf(placed)}`)

/** A server never invents a key where the datastore holds data. */
export const i7: Invariant = ({ before, now }) => {
  if (before.keyring !== undefined) return now.keyring === undefined ? ["the keyring is gone"] : []
  if (now.keyring === undefined) return []
  return before.texts
    .filter(({ text: { under } }) => under !== null)
    .map((placed) => `a first keyring was made, and ${at(placed)} is ${underOf(placed)}`)
}

/** What is checked after every event. */
export const INVARIANTS: Readonly<Record<string, Invariant>> = {
  I1: i1,
  I2: i2,
  I3: i3,
  I4: i4,
  I5: i5,
  I6: i6,
  I7: i7,
}

const keyNamed = ({ keyring }: Seen, name: string) => keyring?.keys.find((key) => key.name === name)

const keyOrNone = (name: string | null): string => (name === null ? "no key" : `the key "${name}"`)
const underOf = ({ text: { under } }: Placed): string => `under ${keyOrNone(under)}`
const at = ({ row: { key, revision }, column }: Placed): string =>
  `${column === "value" ? "" : "the old value of "}${key} at ${revision}`

/** Values that came with a new row, and byte strings that were replaced in place. */
function newTexts(before: Seen, now: Seen): Placed[] {
  const known = new Set(before.texts.map(({ text }) => text))
  const rows = new Set(newRows(before, now))
  // A new row's old value is a copy of what was there as its writer began.
  return now.texts.filter(
    ({ text, row, column }) => !known.has(text) && (column === "value" || !rows.has(row)),
  )
}

function unasked(row: SeenRow, ledger: Ledger): string[] {
  const { value, previous } = row
  const what = `${row.key} at ${row.revision}`
  const live = ledger.live(row.key)
  if (previous !== undefined && previous.write !== live?.write)
    return [`the old value of ${what} is of write ${previous.write}, not of ${live?.write}`]
  const asked = ledger.askedFor(row)
  if (asked === "rewritten") return []
  if (asked === undefined)
    return [
      `nobody asked for ${value === undefined ? "the delete" : `write ${value.write}`} that came as ${what}`,
    ]
  if (ledger.hasHappened(asked.write)) return [`write ${asked.write} came as ${what} again`]
  if (ledger.refused.has(asked.write))
    return [`write ${asked.write} was refused, and came as ${what}`]
  const stands = live === undefined || live.write === null ? 0 : live.revision
  if (ledger.restores > 0 || asked.expected === stands) return []
  return [
    `write ${asked.write} came as ${what} in the place of ${stands}, not of ${asked.expected}`,
  ]
}

function changed(row: SeenRow, ledger: Ledger): string[] {
  const commit = ledger.commit(row)
  const { key, revision, value, previous } = row
  if (commit === undefined) return []
  if (value !== undefined && value.write !== commit.write)
    return [`${key} at ${revision} was write ${commit.write} and is ${value.write}`]
  if (previous !== undefined && previous.write !== commit.replaced)
    return [
      `the old value of ${key} at ${revision} was write ${commit.replaced} and is ${previous.write}`,
    ]
  return []
}

function lost(now: Seen, ledger: Ledger): string[] {
  const newest = new Map(now.rows.map((row) => [row.key, row]))
  return ledger.commits().flatMap(({ key, revision, write }) => {
    const isThere = write === null || (newest.get(key)?.revision ?? 0) >= revision
    return isThere ? [] : [`write ${write} of ${key} is lost`]
  })
}
