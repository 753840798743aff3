import { expect } from "vitest"
import { KnownError } from "../../src/errors.ts"
import type { Change, Row, Store, WriteResult } from "../../src/store/store.ts"

/** All keys of the contract's tests begin with this: a store may hold rows of its own elsewhere. */
export const ROOT = "/registry/contract/"
export const key = (name: string): string => `${ROOT}${name}`
export const bytes = (text: string): Buffer => Buffer.from(text)

/** The revision of a write that had to succeed. */
export function done(result: WriteResult): number {
  if (result.outcome !== "done") throw new Error(`expected done, saw ${result.outcome}`)
  return result.revision
}

export const create = async (store: Store, name: string, text: string): Promise<number> =>
  done(await store.create({ key: key(name), value: bytes(text), fence: undefined }))

/** As many at once as are answered in time. */
export async function createMany(store: Store, names: readonly string[]): Promise<number[]> {
  const made: number[] = []
  for (let at = 0; at < names.length; at += 100) {
    const some = names.slice(at, at + 100).map((name) => create(store, name, "x"))
    made.push(...(await Promise.all(some)))
  }
  return made
}

/** The revision of an entry that nobody else makes; undefined where it is not known to be there. An earlier call may have made it
 *  whose outcome was not known. */
export const createOnce = async (store: Store, name: string): Promise<number | undefined> =>
  create(store, name, "x").catch(
    async () => (await store.get(key(name)).catch(() => undefined))?.revision,
  )

export const update = async (
  store: Store,
  name: string,
  change: { expected: number; text: string },
): Promise<number> => {
  const { expected, text } = change
  return done(
    await store.update({ key: key(name), value: bytes(text), expected, fence: undefined }),
  )
}

export const remove = async (store: Store, name: string, expected: number): Promise<number> =>
  done(await store.delete({ key: key(name), expected, fence: undefined }))

/** The code of the KnownError that `action` ends in. */
export async function failure(action: Promise<unknown>): Promise<string> {
  try {
    await action
  } catch (error) {
    if (error instanceof KnownError) return error.code
    throw error
  }
  return "no failure"
}

/** The live keys and values under the contract's root, as text. */
export async function live(store: Store, revision?: number): Promise<Record<string, string>> {
  const page = await store.list(
    revision === undefined ? { prefix: ROOT } : { prefix: ROOT, revision },
  )
  return Object.fromEntries(
    page.entries.map((entry) => [entry.key.slice(ROOT.length), entry.value.toString()]),
  )
}

export async function setFence(store: Store, next: string): Promise<void> {
  const expected = (await store.fence()) ?? null
  expect((await store.step({ compare: [], fence: { expected, next } })).outcome).toBe("done")
}

/** A change as one line: `update a 7 old→new`. */
export function line({ type, key: name, revision, value, previous }: Change): string {
  const before = previous === undefined ? "" : previous.toString()
  const after = value === undefined ? "" : value.toString()
  return `${type} ${name.slice(ROOT.length)} ${revision} ${before}→${after}`
}

/** The first `count` changes after a revision; fails when they take longer than a few seconds. */
export async function watched(
  store: Store,
  range: { after: number; count: number; prefix?: string; timeoutMs?: number },
): Promise<Change[]> {
  const { after, count, prefix = ROOT, timeoutMs = 8_000 } = range
  const seen: Change[] = []
  const signal = AbortSignal.timeout(timeoutMs)
  if (count === 0) return seen
  for await (const batch of store.watch({ prefix, after, signal })) {
    seen.push(...batch)
    if (seen.length >= count) return seen
  }
  throw new Error(`saw ${seen.length} of ${count} changes: ${seen.map(line).join(", ")}`)
}

/** Every row of the store, read in batches. */
export async function allRows(store: Store, limit = 100): Promise<Row[]> {
  const rows: Row[] = []
  for (let cursor = ""; ; ) {
    const batch = await store.rows({ cursor, limit })
    if (batch.rows.length === 0) return rows
    rows.push(...batch.rows)
    cursor = batch.cursor
  }
}
