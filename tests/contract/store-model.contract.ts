/** Random histories against a model of a few lines: a map, a list of changes, a fence. */
import fc from "fast-check"
import { expect } from "vitest"
import type { Change, Store, WriteResult } from "../../src/store/store.ts"
import type { Check, OpenStore } from "./store.contract.ts"
import { failure, key, line, ROOT, setFence, watched } from "./store-helpers.ts"

const NAMES = ["a", "a/b", "ab", "b"]
const FENCES = [undefined, "f0", "f1", "f2"]

/** `aim`: 0 to 2 the newest revision of the key, above: some older one. `share` picks a place in the history. */
const call = fc.record({
  kind: fc.constantFrom("create", "update", "delete", "burst", "fence", "list", "get", "compact"),
  name: fc.constantFrom(...NAMES),
  value: fc.uint8Array({ maxLength: 12 }),
  fence: fc.constantFrom(...FENCES),
  aim: fc.nat({ max: 3 }),
  share: fc.double({ min: 0, max: 1, noNaN: true }),
  limit: fc.integer({ min: 1, max: 4 }),
})
type Call = typeof call extends fc.Arbitrary<infer T> ? T : never

export function modelContract(check: Check, open: () => Promise<OpenStore>, numRuns: number): void {
  check("random histories read, list and watch like the model", async () => {
    const property = fc.asyncProperty(
      fc.array(call, { minLength: 10, maxLength: 60, size: "max" }),
      async (calls) => {
        const { store, cleanup } = await open()
        try {
          await new Trial(store, await store.revision()).run(calls)
        } finally {
          await cleanup()
        }
      },
    )
    await fc.assert(property, { numRuns, interruptAfterTimeLimit: 60_000 })
  })
}

class Trial {
  readonly #store: Store
  readonly #start: number
  readonly #history: Change[] = []
  /** By the watch over all of it. */
  readonly #told: Change[] = []
  #fence: string | undefined
  #compacted: number

  constructor(store: Store, start: number) {
    this.#store = store
    this.#start = start
    this.#compacted = start
  }

  async run(calls: readonly Call[]): Promise<void> {
    const stop = new AbortController()
    const watch = { prefix: ROOT, after: this.#start, signal: stop.signal }
    const telling = (async () => {
      for await (const batch of this.#store.watch(watch)) this.#told.push(...batch)
    })()
    for (const call of calls) await this.#call(call)
    await this.#checkWatches()
    await this.#allTold()
    stop.abort()
    await telling
    expect(this.#told.map(line)).toEqual(this.#history.map(line))
  }

  #allTold(): Promise<void> {
    return expect.poll(() => this.#told.length, { interval: 1 }).toBe(this.#history.length)
  }

  async #call(call: Call): Promise<void> {
    if (call.kind === "fence") {
      this.#fence = call.fence ?? "f0"
      return setFence(this.#store, this.#fence)
    }
    if (call.kind === "list") return this.#checkList(call)
    if (call.kind === "get") return this.#checkGet(call)
    if (call.kind === "compact") return this.#compact(call)
    if (call.kind !== "burst") return this.#applied(call, await this.#write(call))
    // Four writes at once, each to a key of its own, commit in some order: apply them in the order of their revisions.
    const burst = NAMES.map((name) => ({
      ...call,
      name,
      kind: this.#live(name) ? "update" : "create",
    }))
    const results = await Promise.all(burst.map((one) => this.#write(one)))
    const committed = burst.map((one, index) => ({ one, result: results[index] ?? never() }))
    committed.sort((a, b) => revisionOf(a.result) - revisionOf(b.result))
    for (const { one, result } of committed) this.#applied(one, result)
  }

  #write(call: Omit<Call, "kind"> & { kind: string }): Promise<WriteResult> {
    const { fence, value } = call
    const write = { key: key(call.name), fence, value, expected: this.#aimed(call) }
    if (call.kind === "create") return this.#store.create(write)
    return call.kind === "update" ? this.#store.update(write) : this.#store.delete(write)
  }

  /** What the model says of a write, compared with what the store said; then the model makes the same change. */
  #applied(call: Omit<Call, "kind"> & { kind: string }, result: WriteResult): void {
    const current = this.#live(call.name)
    if (call.fence !== undefined && call.fence !== this.#fence) {
      return expect(result).toEqual({ outcome: "fenced" })
    }
    const fits = call.kind === "create" ? !current : current?.revision === this.#aimed(call)
    if (!fits) {
      const { outcome, current: seen } = result.outcome === "conflict" ? result : never()
      expect([outcome, seen?.revision]).toEqual(["conflict", current?.revision])
      return
    }
    const revision = revisionOf(result)
    expect(revision).toBeGreaterThan(this.#newest())
    const change = { key: key(call.name), revision }
    const value = Buffer.from(call.value)
    const previous = current?.value ?? Buffer.alloc(0)
    if (call.kind === "create") this.#history.push({ type: "create", ...change, value })
    else if (call.kind === "delete") this.#history.push({ type: "delete", ...change, previous })
    else this.#history.push({ type: "update", ...change, value, previous })
  }

  async #checkGet(call: Call): Promise<void> {
    const now = await this.#store.get(key(call.name))
    expect(now?.revision).toBe(this.#live(call.name)?.revision)
    const revision = this.#somewhere(call.share)
    const asked = this.#store.get(key(call.name), revision)
    if (revision < this.#compacted) return expect(await failure(asked)).toBe("Compacted")
    const entry = await asked
    const model = this.#live(call.name, revision)
    expect(entry && { ...entry }).toEqual(
      model && {
        key: model.key,
        value: model.value,
        revision: model.revision,
        createRevision: this.#born(call.name, model.revision),
      },
    )
  }

  async #checkList({ share, limit }: Call): Promise<void> {
    const revision = this.#somewhere(share)
    const asked = this.#store.list({ prefix: ROOT, revision, limit })
    if (revision < this.#compacted) return expect(await failure(asked)).toBe("Compacted")
    const live = NAMES.flatMap((name) => this.#live(name, revision) ?? [])
    const page = await asked
    expect(page.entries.map((entry) => [entry.key, entry.revision])).toEqual(
      live.slice(0, limit).map((change) => [change.key, change.revision]),
    )
    expect(page.remaining).toBe(Math.max(0, live.length - limit))
    expect(await this.#store.count(ROOT)).toBe(NAMES.filter((name) => this.#live(name)).length)
  }

  async #compact({ share, aim }: Call): Promise<void> {
    if (aim > 0) return
    // A watch that has not told of something by the time that it is compacted ends.
    await this.#allTold()
    const revision = this.#somewhere(share)
    await this.#store.compact(revision)
    this.#compacted = Math.max(this.#compacted, revision)
    expect(await this.#store.compactedRevision()).toBe(this.#compacted)
  }

  /** From every revision that is left, a watch tells exactly what the model remembers. */
  async #checkWatches(): Promise<void> {
    const revisions = [this.#start, ...this.#history.map(({ revision }) => revision)]
    for (const after of revisions) {
      const rest = this.#history.filter(({ revision }) => revision > after)
      const seen = watched(this.#store, { after, count: rest.length })
      if (after < this.#compacted && rest.length > 0) expect(await failure(seen)).toBe("Compacted")
      else expect((await seen).map(line)).toEqual(rest.map(line))
    }
  }

  #newest(): number {
    return this.#history.at(-1)?.revision ?? this.#start
  }

  #somewhere(share: number): number {
    const revisions = [this.#start, ...this.#history.map(({ revision }) => revision)]
    return revisions[Math.floor(share * (revisions.length - 1))] ?? this.#start
  }

  /** The newest change of a key, undefined where that is a delete or nothing. */
  #live(name: string, revision = this.#newest()): Change | undefined {
    const last = this.#history.findLast((it) => it.key === key(name) && it.revision <= revision)
    return last?.type === "delete" ? undefined : last
  }

  #born(name: string, revision: number): number | undefined {
    return this.#history.findLast(
      (it) => it.type === "create" && it.key === key(name) && it.revision <= revision,
    )?.revision
  }

  #aimed({ name, aim }: { name: string; aim: number }): number {
    const revisions = this.#history.filter((it) => it.key === key(name)).map((it) => it.revision)
    return revisions.at(aim < 3 ? -1 : 0) ?? this.#start
  }
}

const revisionOf = (result: WriteResult): number =>
  result.outcome === "done" ? result.revision : 0

function never(): never {
  throw new Error("the store and the model disagree on the outcome")
}
