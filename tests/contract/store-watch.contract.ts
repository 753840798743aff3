import { expect } from "vitest"
import type { Change, Store } from "../../src/store/store.ts"
import type { Check } from "./store.contract.ts"
import {
  bytes,
  create,
  failure,
  key,
  line,
  ROOT,
  remove,
  update,
  watched,
} from "./store-helpers.ts"

export function watchContract(check: Check): void {
  check("a watch tells history first, then what happens", async (store) => {
    const after = await create(store, "before", "x")
    const one = await create(store, "a", "one")
    const two = await update(store, "a", { expected: one, text: "two" })
    const changes = watched(store, { after, count: 4 })
    const three = await remove(store, "a", two)
    const four = await create(store, "a", "four")
    expect((await changes).map(line)).toEqual([
      `create a ${one} →one`,
      `update a ${two} one→two`,
      `delete a ${three} two→`,
      `create a ${four} →four`,
    ])
  })

  check("a watch tells only what is under its prefix", async (store) => {
    const after = await store.revision()
    const changes = watched(store, { after, count: 2, prefix: key("in/") })
    for (const name of ["in", "in.", "in/1", "in0", "out/1", "in/2"]) {
      await create(store, name, name)
    }
    expect((await changes).map((change) => change.key)).toEqual([key("in/1"), key("in/2")])
  })

  check("a change has no fields that do not belong to it", async (store) => {
    const after = await store.revision()
    const one = await create(store, "a", "one")
    const two = await remove(store, "a", one)
    expect(await watched(store, { after, count: 2 })).toEqual([
      { type: "create", key: key("a"), revision: one, value: bytes("one") },
      { type: "delete", key: key("a"), revision: two, previous: bytes("one") },
    ])
  })

  check("a watch that waits ends with its signal", async (store) => {
    const stop = new AbortController()
    const seen: Change[] = []
    const after = await store.revision()
    const watching = (async () => {
      for await (const batch of store.watch({ prefix: ROOT, after, signal: stop.signal })) {
        seen.push(...batch)
        stop.abort()
      }
    })()
    await create(store, "a", "one")
    await watching
    expect(seen).toHaveLength(1)
    const aborted = store.watch({ prefix: ROOT, after, signal: stop.signal })
    expect((await aborted[Symbol.asyncIterator]().next()).done).toBe(true)
  })

  check("the progress of a watch counts what was taken and what was not meant", async (store) => {
    const stop = new AbortController()
    const after = await store.revision()
    const progress = { revision: 0 }
    const watch = { prefix: key("in/"), after, signal: stop.signal, progress }
    const reader = store.watch(watch)[Symbol.asyncIterator]()
    const first = reader.next()
    const out = await create(store, "out/1", "x")
    await expect.poll(() => progress.revision).toBe(out)
    const meant = await create(store, "in/1", "x")
    expect((await first).value).toMatchObject([{ revision: meant }])
    expect(progress.revision, "delivered, not taken yet").toBe(out)
    const second = reader.next()
    await expect.poll(() => progress.revision).toBe(meant)
    stop.abort()
    expect((await second).done).toBe(true)
  })

  // It is of a history that a restore has ended: the client would miss what comes up to there.
  check("a watch from a revision above the newest is refused", async (store) => {
    const after = (await store.revision()) + 1
    expect(await failure(watched(store, { after, count: 1 }))).toBe("FutureRevision")
  })

  check("many watches under many writers each tell every change once, in order", async (store) => {
    const start = await store.revision()
    const total = 300
    const seen = Array.from({ length: 10 }, () => watched(store, { after: start, count: total }))
    const writers = Array.from({ length: 10 }, (_, index) => write(store, `w${index}`, total / 10))
    const made = (await Promise.all(writers)).flat().toSorted((a, b) => a - b)
    const late = made.filter((_, index) => index % 60 === 0)
    for (const changes of await Promise.all(seen)) {
      expect(changes.map(({ revision }) => revision)).toEqual(made)
    }
    for (const after of late) {
      const rest = made.filter((revision) => revision > after)
      const changes = await watched(store, { after, count: rest.length })
      expect(changes.map(({ revision }) => revision)).toEqual(rest)
    }
  })

  check("a reader that stops for a while misses nothing", async (store) => {
    const after = await store.revision()
    const stop = AbortSignal.timeout(20_000)
    const changes = store.watch({ prefix: ROOT, after, signal: stop })[Symbol.asyncIterator]()
    const made = [await create(store, "first", "x")]
    const seen = [...((await changes.next()).value ?? [])]
    for (let round = 0; round < 6; round += 1) {
      const names = Array.from({ length: 1_000 }, (_, index) => `r${round}-${index}`)
      made.push(...(await Promise.all(names.map((name) => create(store, name, "x")))))
    }
    while (seen.length < made.length) {
      const { done, value } = await changes.next()
      if (done === true) throw new Error(`saw ${seen.length} of ${made.length} changes`)
      seen.push(...value)
    }
    expect(seen.map(({ revision }) => revision)).toEqual(made.toSorted((a, b) => a - b))
    await changes.return?.()
  })
}

/** Creates, updates and deletes one key in turn; the revisions made. */
async function write(store: Store, name: string, times: number): Promise<number[]> {
  const made: number[] = []
  for (let turn = 0; turn < times; turn += 1) {
    const expected = made.at(-1) ?? 0
    if (turn % 3 === 0) made.push(await create(store, name, `${turn}`))
    else if (turn % 3 === 1) made.push(await update(store, name, { expected, text: `${turn}` }))
    else made.push(await remove(store, name, expected))
  }
  return made
}
