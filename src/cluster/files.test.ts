import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { Program, until } from "../../tests/harness/process.ts"
import { isKnown } from "../errors.ts"
import {
  linkDurably,
  makeDir,
  makePrivateDir,
  named,
  readIfPresent,
  writeDurably,
  writeIfChanged,
} from "./files.ts"

let dir = ""
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "keyturn-files-"))
})
afterEach(() => rmSync(dir, { recursive: true }))

const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8)

/** Code and message of the KnownError that `run` ends in. */
function failure(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (isKnown(error)) return `${error.code}: ${error.message}`
    throw error
  }
  return "none"
}

describe("writeDurably", () => {
  test("writes and replaces the whole, private unless told otherwise, whatever the umask", () => {
    const file = join(dir, "token")
    writeDurably(file, "a long first text")
    writeDurably(file, "short")
    expect(readFileSync(file, "utf8")).toBe("short")
    expect(modeOf(file)).toBe("600")
    writeDurably(file, "x", { mode: 0o666 })
    expect(modeOf(file)).toBe("666")
  })

  test("a leftover of a crash is in nobody's way, and is not written through", () => {
    const other = join(dir, "other")
    symlinkSync(other, join(dir, ".token.tmp"))
    writeDurably(join(dir, "token"), "x")
    expect(readdirSync(dir)).toEqual(["token"])
  })

  test("a failure names the path and leaves nothing behind", () => {
    const file = join(dir, "token")
    mkdirSync(join(file, "full"), { recursive: true })
    expect(failure(() => writeDurably(file, "x"))).toMatch(
      /^FilesUnreadable: cannot write .*\/token: (illegal operation on a directory|directory not empty)$/,
    )
    expect(readdirSync(dir)).toEqual(["token"])
    expect(failure(() => writeDurably(join(dir, "no", "x"), "x"))).toBe(
      `FilesUnreadable: cannot write ${dir}/no/x: no such file or directory`,
    )
  })

  test("killed at any moment it leaves the old text or the new one", async () => {
    const file = join(dir, "big")
    const module = JSON.stringify(new URL("./files.ts", import.meta.url).href)
    const script = `import { writeDurably } from ${module}
      for (;;) for (const letter of "ab") writeDurably(process.argv[1], letter.repeat(1 << 20))`
    for (let round = 0; round < 5; round++) {
      const args = ["--input-type=module", "-e", script, file]
      await using writer = new Program(process.execPath, args)
      await until(() => existsSync(file))
      await new Promise((resolve) => setTimeout(resolve, round * 7))
      await writer.end("SIGKILL")
      const text = readFileSync(file, "utf8")
      expect(text.length).toBe(1 << 20)
      expect(new Set(text).size).toBe(1)
      rmSync(file)
    }
  })
})

test("a full disk is told apart", ({ skip }) => {
  skip(!existsSync("/dev/full"), "this system has no /dev/full")
  expect(failure(() => named("cannot write it", () => writeFileSync("/dev/full", "x")))).toBe(
    "DiskFull: cannot write it: no space left on device",
  )
})

test("writeIfChanged leaves an equal file alone but for its mode", () => {
  const file = join(dir, "f")
  expect(writeIfChanged(file, "x")).toBe(true)
  const { ino } = statSync(file)
  chmodSync(file, 0o644)
  expect(writeIfChanged(file, "x")).toBe(false)
  expect(modeOf(file)).toBe("600")
  expect(statSync(file).ino).toBe(ino)
  expect(writeIfChanged(file, "y", { mode: 0o640 })).toBe(true)
  expect(modeOf(file)).toBe("640")
})

test("linkDurably makes the link whatever was there", () => {
  const link = join(dir, "link")
  for (const before of [() => {}, () => writeFileSync(link, "x"), () => symlinkSync("b", link)]) {
    rmSync(link, { force: true })
    before()
    linkDurably({ path: link, target: "a" })
    expect(readlinkSync(link)).toBe("a")
  }
})

test("readIfPresent: text, null for no file, an error for the rest", () => {
  writeFileSync(join(dir, "f"), "ä")
  expect(readIfPresent(join(dir, "f"))).toBe("ä")
  expect(readIfPresent(join(dir, "no", "f"))).toBeNull()
  expect(failure(() => readIfPresent(dir))).toBe(
    `FilesUnreadable: cannot read ${dir}: illegal operation on a directory`,
  )
})

test("makeDir makes parents and leaves what is there; makePrivateDir closes its own", () => {
  const open = join(dir, "open")
  mkdirSync(open)
  chmodSync(open, 0o755)
  makeDir(join(open, "a", "b"))
  expect([modeOf(open), modeOf(join(open, "a")), modeOf(join(open, "a", "b"))]).toEqual([
    "755",
    "700",
    "700",
  ])
  makeDir(open)
  expect(modeOf(open)).toBe("755")
  makePrivateDir(open)
  expect(modeOf(open)).toBe("700")
  writeFileSync(join(dir, "f"), "")
  expect(failure(() => makeDir(join(dir, "f", "g")))).toBe(
    `FilesUnreadable: cannot make the directory ${dir}/f/g: not a directory`,
  )
})
