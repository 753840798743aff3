import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, test } from "vitest"
import { Program, until } from "../../tests/harness/process.ts"
import { isKnown } from "../errors.ts"
import { claimDatabase, dataDirPaths, openDataDir, readToken, writeToken } from "./data-dir.ts"

const NOW = new Date("2026-11-23T21:00:00Z")

let dir = ""
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "keyturn-data-"))
})
afterEach(() => rmSync(dir, { recursive: true }))

const MODULE = JSON.stringify(new URL("./data-dir.ts", import.meta.url).href)

/** A server of its own process that prints "locked" or the refusal, and then runs `then`. */
const server = (then = "setInterval(() => {}, 1000)", flags: string[] = []) =>
  new Program(process.execPath, [
    ...flags,
    "--input-type=module",
    "-e",
    `import { openDataDir } from ${MODULE}
     try {
       openDataDir(process.argv[1], { now: new Date("2026-01-02T03:04:05Z") })
       console.log("locked")
     } catch (error) { console.log(error.code + ": " + error.message); process.exit() }
     ${then}`,
    dir,
  ])

const said = (program: Program) => until(() => /^.*(?=\n)/.exec(program.stdout)?.[0])

function refusal(claim = () => openDataDir(dir, { now: NOW }).release()): string {
  try {
    claim()
  } catch (error) {
    if (isKnown(error)) return `${error.code}: ${error.message}`
    throw error
  }
  return "none"
}

test("the directories are there and private, also where they stood open", () => {
  mkdirSync(join(dir, "new", "data", "server", "tls"), { recursive: true, mode: 0o755 })
  chmodSync(join(dir, "new", "data"), 0o700)
  const { paths, release } = openDataDir(join(dir, "new", "data"), { now: NOW })
  for (const own of [paths.dataDir, paths.server, paths.cred, paths.tls, paths.db]) {
    expect(statSync(own).mode & 0o777, own).toBe(0o700)
  }
  expect(statSync(paths.lock).mode & 0o777).toBe(0o600)
  release()
})

test("a directory in use names its server, and is free when that one releases it", () => {
  const first = openDataDir(dir, { now: NOW })
  expect(refusal()).toBe(
    `DataDirInUse: ${dir} is in use by the server with pid ${process.pid}, started 2026-11-23T21:00:00.000Z`,
  )
  first.release()
  first.release()
  expect(refusal()).toBe("none")
})

test("a database is one server's under every name that leads to it", () => {
  const path = join(dir, "state.db")
  const link = join(dir, "link.db")
  mkdirSync(join(dir, "real"))
  symlinkSync("real", join(dir, "folder"))
  symlinkSync("state.db", link)
  writeFileSync(path, "")
  const releases = [
    claimDatabase(path, { now: NOW }),
    claimDatabase(join(dir, "folder", "new.db"), { now: NOW }),
  ]
  for (const other of [link, join(dir, "real", "new.db")])
    expect(refusal(() => claimDatabase(other, { now: NOW })())).toMatch(`${other} is in use by`)
  for (const release of releases) release()
  expect(refusal(() => claimDatabase(link, { now: NOW })())).toBe("none")
})

test("a killed server's lock is gone with it, and its note deceives nobody", async () => {
  await using killed = server()
  expect(await said(killed)).toBe("locked")
  expect(refusal()).toBe(
    `DataDirInUse: ${dir} is in use by the server with pid ${killed.pid}, started 2026-01-02T03:04:05.000Z`,
  )
  await killed.end("SIGKILL")
  const note = readFileSync(dataDirPaths(dir).holder, "utf8")
  expect(note).toContain(String(killed.pid))
  const next = openDataDir(dir, { now: NOW })
  writeFileSync(dataDirPaths(dir).holder, note)
  expect(refusal()).toBe(`DataDirInUse: ${dir} is in use by another process`)
  next.release()
})

test("a server that is just ending is waited for", async () => {
  await using ending = server("setTimeout(() => process.exit(), 150)")
  expect(await said(ending)).toBe("locked")
  expect(refusal()).toBe("none")
})

test("a note about a living process blocks nothing: only the lock counts", () => {
  const { paths, release } = openDataDir(dir, { now: NOW })
  release()
  writeFileSync(paths.holder, `${process.pid} 2020-01-01T00:00:00.000Z\n`)
  expect(refusal()).toBe("none")
})

test("of many that start at once exactly one gets it, and the others name that one", async () => {
  const servers = Array.from({ length: 6 }, () => server())
  try {
    const lines = await Promise.all(servers.map(said))
    const winner = servers[lines.indexOf("locked")]
    const losers = lines.filter((line) => line !== "locked")
    expect(losers).toEqual(
      Array(5).fill(
        `DataDirInUse: ${dir} is in use by the server with pid ${winner?.pid}, started 2026-01-02T03:04:05.000Z`,
      ),
    )
  } finally {
    for (const each of servers) await each[Symbol.asyncDispose]()
  }
}, 30_000)

test("the lock outlives a caller who keeps nothing and a garbage collection", async () => {
  const collect =
    "for (let i = 0; i < 3; i++) globalThis.gc()\nconsole.log('collected'); setInterval(() => {}, 1000)"
  await using holder = server(collect, ["--expose-gc"])
  await until(() => holder.stdout.includes("collected"))
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(refusal()).toMatch(/^DataDirInUse: /)
})

test("what cannot be locked is named", () => {
  const { paths, release } = openDataDir(dir, { now: NOW })
  release()
  writeFileSync(paths.lock, "this is no database, and longer than the header of one: ".repeat(9))
  expect(refusal()).toBe(`FilesUnreadable: cannot lock ${paths.lock}: file is not a database`)
})

test("the token is one line, private, and node-token points to it", () => {
  const { paths, release } = openDataDir(dir, { now: NOW })
  expect(readToken(paths)).toBeNull()
  writeToken(paths, "K10abc::server:pw")
  expect(readFileSync(paths.token, "utf8")).toBe("K10abc::server:pw\n")
  expect(statSync(paths.token).mode & 0o777).toBe(0o600)
  expect(readlinkSync(paths.nodeToken)).toBe("token")
  expect(existsSync(paths.nodeToken)).toBe(true)
  expect(readToken(paths)).toBe("K10abc::server:pw")
  release()
})
