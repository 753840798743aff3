import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))
const linter = join(root, "node_modules/oxlint/bin/oxlint")

/** What the linter says about `code` as src/x.ts, in the project's own configuration. */
function messages(code: string): string[] {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-bans-"))
  mkdirSync(join(folder, "src"))
  writeFileSync(join(folder, "src/x.ts"), code)
  const config = join(root, ".oxlintrc.json")
  try {
    execFileSync(process.execPath, [linter, "-c", config, "-f", "json", "src"], { cwd: folder })
    return []
  } catch (error) {
    const { stdout } = error as { stdout: Buffer }
    const { diagnostics } = JSON.parse(stdout.toString()) as { diagnostics: { message: string }[] }
    return diagnostics.map(({ message }) => message)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test.each([
  ["export default 3", "export it by name"],
  ["export const x: any = 3", "use `unknown`"],
  ["export const x = [1][0]!", "handle the missing value"],
  ["export enum X { a }", "use a union of strings"],
  ["export const x = Date.now()", "use the clock you were given"],
  ["export const x = new Date()", "use the clock you were given"],
  ["export const x = performance.now()", "use the monotonic clock"],
  ["export const x = Math.random()", "take a random source"],
  ['export const x = process.env["A"]', "take what you need of it as a parameter"],
  ["console.log(3)", "use the logger you were given"],
])("%s is banned, and the message names the replacement", (code, replacement) => {
  expect(messages(code)).toEqual([expect.stringContaining(replacement)])
})

test("a date of a given time is no look at the clock", () => {
  expect(messages("export const x = new Date(3)")).toEqual([])
})
