/** etcd of three members, of which one at a time dies or stands still: the leader, too. */
import { afterAll, beforeAll, expect, test, vi } from "vitest"
import { isKnown } from "../../src/errors.ts"
import { openEtcd } from "../../src/store/etcd.ts"
import type { Store } from "../../src/store/store.ts"
import { create, createOnce, key, live, ROOT } from "../contract/store-helpers.ts"
import { Etcd } from "../harness/etcd.ts"
import { until } from "../harness/process.ts"
import { missing, needs } from "../harness/programs.ts"

needs("etcd")
let members: Etcd[] = []
let store: Store
beforeAll(async () => {
  if ((await missing("etcd")) !== undefined) return
  members = await Etcd.cluster()
  store = await openEtcd({ endpoints: members.map(({ endpoint }) => endpoint) })
})
afterAll(async () => {
  await store?.close()
  for (const member of members) await member[Symbol.asyncDispose]()
})

/** Writes until told to stop; what was acknowledged, and what is not known. */
async function write(lane: number, isOver: () => boolean) {
  const made = new Map<string, number>()
  const unknown = new Set<string>()
  for (let turn = 0; !isOver(); turn += 1) {
    const name = `${lane}-${turn}`
    try {
      made.set(name, await create(store, name, name))
    } catch (error) {
      if (isKnown(error, "OutcomeUnknown")) unknown.add(name)
      else if (!isKnown(error, "StoreUnavailable")) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  return { made, unknown }
}

test("nothing acknowledged is lost, nothing refused is found, and the watch misses nothing", async () => {
  const after = await store.revision()
  const told: { name: string; revision: number }[] = []
  const stop = new AbortController()
  const telling = (async () => {
    for await (const batch of store.watch({ prefix: ROOT, after, signal: stop.signal }))
      told.push(...batch.map(({ key, revision }) => ({ name: key.slice(ROOT.length), revision })))
  })()
  let isOver = false
  const lanes = Array.from({ length: 4 }, (_, lane) => write(lane, () => isOver))
  const goesOn = async (turn: string) => {
    await until(() => createOnce(store, turn), {
      timeoutMs: 40_000,
      what: `a write goes through after ${turn}`,
    })
  }
  for (const [index, member] of members.entries()) {
    await member.stop("SIGKILL")
    await goesOn(`death-${index}`)
    await member.start()
  }
  members[0]?.signal("SIGSTOP")
  await goesOn("standstill")
  members[0]?.signal("SIGCONT")
  isOver = true
  const written = await Promise.all(lanes)
  await until(() => createOnce(store, "end"))
  // The member that stood still may store what it was sent only now.
  const [now, heard] = await vi.waitFor(
    async () => {
      const stored = await live(store)
      expect(told.map(({ name }) => name).toSorted()).toEqual(Object.keys(stored).toSorted())
      return [stored, [...told]] as const
    },
    { timeout: 20_000 },
  )
  stop.abort()
  await telling

  const others = /^(death|standstill|end)/
  const known = new Set(written.flatMap(({ made, unknown }) => [...made.keys(), ...unknown]))
  for (const { made } of written)
    for (const [name, revision] of made) {
      expect(now[name]).toBe(name)
      expect((await store.get(key(name)))?.revision).toBe(revision)
    }
  for (const name of Object.keys(now)) expect(known.has(name) || others.test(name), name).toBe(true)
  const revisions = heard.map(({ revision }) => revision)
  expect(revisions).toEqual(revisions.toSorted((a, b) => a - b))
}, 180_000)

test("rows are read of a member that lags behind, and none is missing", async () => {
  const leads = await Promise.all(members.map((member) => member.isLeader()))
  const lagging = members[leads.indexOf(false)]
  const others = members.filter((member) => member !== lagging)
  const writer = await openEtcd({ endpoints: others.map(({ endpoint }) => endpoint) })
  const reader = await openEtcd({ endpoints: [lagging?.endpoint ?? ""] })
  try {
    for (let turn = 0; turn < 5; turn += 1) {
      await reader.revision() // it is connected
      lagging?.signal("SIGSTOP")
      const names = Array.from({ length: 50 }, (_, n) => `lag-${turn}-${n}`)
      await Promise.all(names.map((name) => create(writer, name, "x")))
      const upTo = await writer.revision()
      const read = reader.rows({ cursor: `0:0:${key(`lag-${turn}-`)}`, upTo, limit: names.length })
      await new Promise((resolve) => setTimeout(resolve, 50)) // it is sent
      lagging?.signal("SIGCONT")
      const keys = new Set((await read).rows.map((row) => row.key))
      expect(names.filter((name) => !keys.has(key(name)))).toEqual([])
    }
  } finally {
    await reader.close()
    await writer.close()
  }
}, 60_000)
