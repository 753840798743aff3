/** What the store acknowledged survives a process that is killed at any moment, and a disk that stops taking bytes. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, test } from "vitest"
import { openSqlite } from "../../src/store/sqlite.ts"
import type { Change, Store } from "../../src/store/store.ts"

const WRITER = join(import.meta.dirname, "writer.ts")
const ROUNDS = 8
const SEED = 20_261_123

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "keyturn-crash-"))
  path = join(folder, "state.db")
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Everything the writer printed until it was killed, `lifeMs` after its first line. A line cut short is no promise. */
async function acknowledged(round: number, lifeMs: number): Promise<string[]> {
  const child = spawn(process.execPath, [WRITER, path, `${round}`], {
    stdio: ["ignore", "pipe", "inherit"],
  })
  let output = ""
  let timer: NodeJS.Timeout | undefined
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString()
    timer ??= setTimeout(() => child.kill("SIGKILL"), lifeMs)
  })
  const [, signal] = await once(child, "close")
  expect(signal, "the writer ended by itself").toBe("SIGKILL")
  return output.split("\n").slice(0, -1)
}

async function history(store: Store): Promise<Map<number, Change>> {
  const changes = new Map<number, Change>()
  const newest = await store.revision()
  const signal = AbortSignal.timeout(30_000)
  for await (const batch of store.watch({ prefix: "/registry/", after: 0, signal })) {
    for (const change of batch) changes.set(change.revision, change)
    if (batch.at(-1)?.revision === newest) return changes
  }
  throw new Error("the history did not end")
}

test(`a writer killed ${ROUNDS} times loses no acknowledged write`, async () => {
  const lines: string[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const lifeMs = (Math.imul(SEED, round + 1) >>> 8) % 250
    const added = await acknowledged(round, lifeMs)
    expect(added.length, `round ${round}, ${lifeMs} ms`).toBeGreaterThan(0)
    lines.push(...added)
    const store = openSqlite({ path })
    const changes = await history(store)
    for (const line of lines) {
      const [type, key, revision] = line.split(" ")
      const change = changes.get(Number(revision))
      expect(`${change?.type} ${change?.key}`, line).toBe(`${type} ${key}`)
      if (type !== "delete") expect(change?.value?.toString()).toBe(`${key} ${type}d`)
    }
    await store.close()
  }
})

interface Filled {
  readonly made: number
  readonly code: string
  readonly scrub: string
  readonly again: string
  readonly visible: number
  readonly logBytes: number
}

async function filled(...more: string[]): Promise<Filled> {
  const limit = 'ulimit -f 2000; exec "$0" "$@"'
  const script = join(import.meta.dirname, "filler.ts")
  const child = spawn("bash", ["-c", limit, process.execPath, script, path, ...more], {
    stdio: ["ignore", "pipe", "inherit"],
  })
  let output = ""
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString()
  })
  expect(await once(child, "close")).toEqual([0, null])
  return JSON.parse(output) as Filled
}

test("where the disk takes no more, writes fail whole and everything before them stays", async () => {
  const { made, code, visible } = await filled()
  expect(made).toBeGreaterThan(100)
  expect(code).toBe("StoreUnavailable")
  expect(visible, "a failed write was visible").toBe(made)
  const store = openSqlite({ path })
  const left = await store.count("/registry/filler/")
  expect(left).toBe(made)
  await store.close()
})

test("a log that can grow no more is begun anew", async () => {
  const { made, again, visible } = await filled("again")
  expect(again).toBe("done")
  expect(visible).toBe(made)
})

test("a scrub that finds no space takes none", async () => {
  const store = openSqlite({ path })
  const value = Buffer.alloc(2_000, "x")
  const names = Array.from({ length: 1_500 }, (_, index) => `/registry/filler/${index}`)
  await Promise.all(names.map((key) => store.create({ key, value, fence: undefined })))
  await store.close()
  const { scrub, visible, logBytes } = await filled("scrub")
  expect(scrub).toBe("StoreUnavailable")
  expect(logBytes).toBe(0)
  expect(visible).toBe(names.length)
})
