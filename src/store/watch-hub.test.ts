import { expect, test, vi } from "vitest"
import { KnownError } from "../errors.ts"
import { type ChangeLog, type Stretch, WatchHub } from "./watch-hub.ts"

/** A hub whose history is read as slowly as the test wants. */
function slowHub(start: number) {
  const reads: (() => void)[] = []
  const read = (_prefix: string, { upTo }: { upTo: number }) =>
    new Promise<Stretch>((resolve) => {
      reads.push(() => resolve({ changes: [], upTo, compacted: 0 }))
    })
  const hub = new WatchHub({ compacted: () => 0, reach: () => {}, read }, start)
  return { hub, answer: () => reads.shift()?.(), isAsked: () => reads.length > 0 }
}

test.each(["its signal", "the end of the store", "history that begins anew"])(
  "a watch ends at %s, also where that comes while history is read",
  async (what) => {
    const { hub, answer, isAsked } = slowHub(10)
    const stop = new AbortController()
    const watch = hub.watch({ prefix: "/", after: 5, signal: stop.signal })
    const next = watch.next()
    const ended = next.then(
      ({ done }) => done === true,
      () => true,
    )
    while (!isAsked()) await new Promise(setImmediate)
    if (what === "its signal") stop.abort()
    else if (what === "the end of the store") hub.close()
    else hub.restart(3)
    answer()
    const late = new Promise((resolve) => setTimeout(resolve, 500, "it goes on"))
    expect(await Promise.race([ended, late])).toBe(true)
  },
)

test("a watch ends at its signal where history is never read", async () => {
  const { hub, isAsked } = slowHub(10)
  const stop = new AbortController()
  const next = hub.watch({ prefix: "/", after: 5, signal: stop.signal }).next()
  while (!isAsked()) await new Promise(setImmediate)
  stop.abort()
  const late = new Promise((resolve) => setTimeout(resolve, 500, "it goes on"))
  expect(await Promise.race([next, late])).toEqual({ done: true, value: undefined })
})

type Ask = keyof Omit<ChangeLog, "comesBack">

/** A hub whose log does not answer `what` for as long as the test wants, and a watch that asks for it. */
function hubOfOneAway(what: Ask, comesBack: boolean) {
  const datastore = { isAway: true, asked: 0 }
  const answers = <T>(ask: Ask, answer: T): T => {
    if (ask !== what) return answer
    datastore.asked += 1
    if (datastore.isAway) throw new KnownError("StoreUnavailable", "it is away")
    return answer
  }
  const read = (_prefix: string, { upTo }: { upTo: number }) =>
    answers("read", {
      changes: [{ type: "delete" as const, key: "/a", revision: upTo }],
      upTo,
      compacted: 0,
    })
  const log: ChangeLog = {
    compacted: () => answers("compacted", 0),
    reach: () => answers("reach", undefined),
    read,
    ...(comesBack && { comesBack }),
  }
  const stop = new AbortController()
  const hub = new WatchHub(log, 10)
  const after = what === "reach" ? 11 : 5
  const watch = hub.watch({ prefix: "/", after, signal: stop.signal })
  const next = watch.next()
  return { hub, datastore, stop, next }
}

test.each(["compacted", "reach", "read"] as const)(
  "a watch that asks for %s goes on when a datastore is back, and ends where that is not to be waited for",
  async (what) => {
    const { hub, datastore, next } = hubOfOneAway(what, true)
    await vi.waitUntil(() => datastore.asked === 2)
    datastore.isAway = false
    hub.publish([{ type: "delete", key: "/a", revision: 12 }])
    expect((await next).value).toHaveLength(1)
    await expect(hubOfOneAway(what, false).next).rejects.toMatchObject({ code: "StoreUnavailable" })
  },
)

test("nothing is asked for a watch that has ended", async () => {
  const { datastore, stop, next } = hubOfOneAway("read", true)
  await vi.waitUntil(() => datastore.asked === 1)
  stop.abort()
  expect(await next).toEqual({ done: true, value: undefined })
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect(datastore.asked).toBe(1)
})

test("a key is watched while a watch over its prefix runs, asleep or not", async () => {
  const { hub } = slowHub(10)
  const isWatched = () => hub.isWatched(["/b/1", "/a/1"])
  const stop = new AbortController()
  const watch = hub.watch({ prefix: "/a/", after: 10, signal: stop.signal })
  expect(isWatched()).toBe(false)
  const next = watch.next()
  expect(isWatched()).toBe(true)
  expect(hub.isWatched(["/b/1"])).toBe(false)
  await new Promise(setImmediate)
  expect(isWatched()).toBe(true)
  stop.abort()
  await next
  expect(isWatched()).toBe(false)
})
