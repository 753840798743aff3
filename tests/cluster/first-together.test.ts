/** Two servers that come to the making of the first keyring at the very same moment (I7). */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import type { Store } from "../../src/store/store.ts"
import { openSqlite } from "../../src/store/sqlite.ts"
import { type OpenedKeyring, openKeyring } from "../../src/cluster/bootstrap.ts"
import {
  type DataDirPaths,
  openDataDir,
  readToken,
  writeToken,
} from "../../src/cluster/data-dir.ts"
import { filesBelow } from "../harness/stored.ts"

const home = mkdtempSync(join(tmpdir(), "keyturn-bootstrap-"))
afterAll(() => rmSync(home, { recursive: true }))
const now = () => new Date()
let dirs = 0

/** The store as each of `count` servers sees it: none makes the keyring before all have come to that. */
function together(store: Store, count: number): Store {
  const all = Promise.withResolvers<void>()
  let waiting = 0
  return new Proxy(store, {
    get(target, name) {
      if (name === "step")
        return async (step: Parameters<Store["step"]>[0]) => {
          if (++waiting === count) all.resolve()
          await all.promise
          return target.step(step)
        }
      const value: unknown = Reflect.get(target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })
}

interface Starter {
  /** As given by the operator. */
  readonly token?: string
  /** What lies in the data directory. */
  readonly file?: string
}

interface Started {
  readonly paths: DataDirPaths
  readonly opened: OpenedKeyring | undefined
  readonly error: unknown
}

/** The lock's own files left out. */
const filesOf = ({ server }: DataDirPaths) =>
  new Map([...filesBelow(server)].filter(([name]) => !name.startsWith("lock.")))

/** The one that made the keyring, and the one that came too late. */
async function race(...starters: readonly [Starter, Starter]) {
  const inner = openSqlite({ path: join(home, `${++dirs}.db`), warn: () => {} })
  const store = together(inner, starters.length)
  const start = async ({ token, file }: Starter) => {
    const { paths, release } = openDataDir(join(home, `${++dirs}`), { now: now() })
    if (file !== undefined) writeToken(paths, file)
    const before = filesOf(paths)
    const firstKey = "aescbc"
    const given = {
      server: "n1",
      token: token ?? null,
      recoveryKey: null,
      configuration: null,
      firstKey,
    } as const
    const opening = openKeyring({ store, paths, now, ...given })
    const started = await opening.then(
      (opened): Started => ({ paths, opened, error: undefined }),
      (error: unknown): Started => ({ paths, opened: undefined, error }),
    )
    release()
    return { ...started, before }
  }
  const [one, other] = await Promise.all([start(starters[0]), start(starters[1])])
  const stored = await inner.record("keyring")
  const { epoch } = JSON.parse(stored?.value.toString() ?? "{}")
  await inner.close()
  return { one, other, epoch }
}

test("with one token, given by a flag or by the file, both open the keyring that the first one made", async () => {
  for (const file of [undefined, "K10::server:shared", "shared"]) {
    const { one, other, epoch } = await race(
      { token: "shared" },
      file ? { file } : { token: "shared" },
    )
    const keyrings = [one, other].map(({ opened }) => opened?.keys.view.record.keyring)
    expect(keyrings[0]).toEqual(keyrings[1])
    expect(keyrings[0]?.keys.map(({ name }) => name)).toEqual(["aescbckey"])
    expect(readToken(one.paths)).toBe(readToken(other.paths))
    expect(epoch).toBe(1)
  }
})

test("the one that was given no token leaves nothing of its own, and says what to type", async () => {
  const { one, other, epoch } = await race({}, {})
  const [winner, loser] = one.opened ? [one, other] : [other, one]
  expect(winner.opened?.keys.view.record.keyring.keys).toHaveLength(1)
  expect(loser.error).toMatchObject({
    code: "SlotDidNotOpen",
    message: expect.stringMatching(/at the same moment.* type: keyturn server --token-file/),
  })
  expect(filesOf(loser.paths)).toEqual(loser.before)
  expect(epoch).toBe(1)
})

test("one with another token is refused, and its files are what they were", async () => {
  for (const starter of [{ token: "other" }, { file: "K10::server:other" }]) {
    const { one, other, epoch } = await race({ token: "mine" }, starter)
    const [winner, loser] = one.opened ? [one, other] : [other, one]
    expect(winner.opened?.keys.view.record.keyring.keys).toHaveLength(1)
    expect(loser.error).toMatchObject({ code: "SlotDidNotOpen" })
    expect(filesOf(loser.paths)).toEqual(loser.before)
    expect(epoch).toBe(1)
  }
})
