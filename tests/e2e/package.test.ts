/** What `npm pack` makes is what users get. */

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type Outcome, Program, run, until } from "../harness/process.ts"
import { KEYTURN, kubectl, startServer } from "../harness/server.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const folder = mkdtempSync(join(tmpdir(), "keyturn-package-"))
const installed = join(folder, "prefix/bin/keyturn")
afterAll(() => rmSync(folder, { recursive: true }))

async function npm(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run("npm", args, { cwd: root, timeoutMs: 120_000 })
  expect(code, stdout + stderr).toBe(0)
  return stdout
}

let files: string[] = []

beforeAll(async () => {
  await npm("run", "build")
  const packed = await npm("pack", "--json", "--ignore-scripts", "--pack-destination", folder)
  const found = Object.values(JSON.parse(packed))[0] as {
    filename: string
    files: { path: string }[]
  }
  files = found.files.map(({ path }) => path)
  const tarball = join(folder, found.filename)
  await npm("install", "-g", "--prefix", join(folder, "prefix"), "--prefer-offline", tarball)
}, 240_000)

test("it holds the program, its documents and nothing else", () => {
  const allowed =
    /^(bin\/keyturn|dist\/.+(?<!\.test)\.js|docs\/.+\.(md|svg)|packaging\/\w+\/keyturn(\.service)?|package\.json|LICENSE|[A-Z][A-Za-z.-]+\.md)$/
  expect(files.filter((path) => !allowed.test(path))).toEqual([])
  expect(files).toEqual(
    expect.arrayContaining(["bin/keyturn", "dist/main.js", "packaging/openrc/keyturn", "LICENSE"]),
  )
})

test("it does not end where a test of the sources would have it end", async () => {
  const args = (name: string) =>
    `server --config /dev/null --https-listen-port 0 --data-dir ${join(folder, name)}`.split(" ")
  const env = { ...process.env, HOME: folder, KEYTURN_FAILPOINT: "first-keyring:before" }
  expect((await run(KEYTURN, args("source"), { env })).code).toBe(137)
  await using published = new Program(installed, args("published"), { env })
  const isReady = () => published.stdout.includes("keyturn is ready")
  await until(() => isReady() || !published.isRunning, { timeoutMs: 30_000 })
  expect(isReady(), published.stderr).toBe(true)
})

test("it rewrites what is stored", async () => {
  await using source = await startServer()
  const { dataDir } = source
  const create = ["create", "secret", "generic", "one", "--from-literal=word=written-in-plain"]
  expect((await kubectl(source, create)).code).toBe(0)
  await source.stop()
  const args = ["--config", "/dev/null", "--https-listen-port", "0", "--data-dir", dataDir]
  await using published = new Program(installed, ["server", ...args], { env: source.env })
  await until(() => published.stdout.includes("keyturn is ready"), { timeoutMs: 30_000 })
  for (const verb of ["enable", "rotate-keys"]) {
    const turned = await run(installed, ["secrets-encrypt", verb, "--data-dir", dataDir])
    expect(turned.code, turned.stderr + published.stderr).toBe(0)
  }
  const verify = await run(installed, ["secrets-encrypt", "verify", "--data-dir", dataDir])
  expect(verify.code, verify.stdout + verify.stderr).toBe(0)
})

const expected: Outcome = { stdout: `keyturn ${version}\n`, stderr: "", code: 0 }

test("it runs from an empty prefix, from any working directory", async () => {
  expect(await run(installed, ["--version"], { cwd: "/" })).toEqual(expected)
})

test("it runs through a chain of links", async () => {
  mkdirSync(join(folder, "a b"))
  symlinkSync(installed, join(folder, "link"))
  symlinkSync("../link", join(folder, "a b/keyturn"))
  expect(await run("./keyturn", ["--version"], { cwd: join(folder, "a b") })).toEqual(expected)
})

test("without its runtime it says what to do", async () => {
  mkdirSync(join(folder, "bare/bin"), { recursive: true })
  copyFileSync(KEYTURN, join(folder, "bare/bin/keyturn"))
  const { code, stderr } = await run(join(folder, "bare/bin/keyturn"), ["--version"])
  expect(stderr).toMatch(/^keyturn: error: the pinned runtime .* is not installed/)
  expect(stderr).toMatch(/^keyturn: hint: run: cd .* && npm install/m)
  expect(code).toBe(1)
})
