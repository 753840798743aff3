import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { command } from "../../tests/harness/command.ts"

const script = async (shell: string) => (await command(["completion", shell])).stdout

const folder = mkdtempSync(join(tmpdir(), "keyturn-completion-"))
writeFileSync(join(folder, "state-of-mine"), "")
afterAll(() => rmSync(folder, { recursive: true }))

/** Where the cursor stands at the end of the line, and what is offered there. */
const CASES: readonly (readonly [line: string, offered: readonly string[]])[] = [
  ["keyturn s", ["server", "secrets-encrypt"]],
  ["keyturn secrets-encrypt r", ["rotate", "reencrypt", "rotate-keys"]],
  ["keyturn secrets-encrypt status --o", ["--output"]],
  ["keyturn secrets-encrypt status --output ", ["text", "json"]],
  ["keyturn secrets-encrypt -d x reencrypt --s", ["--server", "--skip"]],
  ["keyturn server --log-level w", ["warn"]],
  ["keyturn server --encryption-provider-config state", ["state-of-mine"]],
  ["keyturn secrets-encrypt status --token ", []],
  ["keyturn completion ", ["bash", "zsh", "fish", "-h", "--help", "-v", "--version"]],
  ["keyturn token r", ["rotate"]],
]

/** The shell's own completion of a line: a program that prints what it offers, one a line. */
const SHELLS = {
  bash: (line: string) => {
    const words = line.split(" ")
    const set = `COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}`
    // compopt works only inside a real completion
    return `compopt() { :; }; ${set}; _keyturn; printf '%s\\n' "\${COMPREPLY[@]}"`
  },
} as const

describe.each(Object.entries(SHELLS))("%s", (shell, asks) => {
  test.each(CASES)("%s", async (line, offered) => {
    const program = `${await script(shell)}\n${asks(line)}`
    const said = execFileSync(shell, ["-c", program], { cwd: folder, encoding: "utf8" })
    const words = said.split("\n").filter((word) => word !== "")
    expect(words.toSorted()).toEqual(offered.toSorted())
  })
})

test("bash registers it", async () => {
  const program = `${await script("bash")}\ncomplete -p keyturn`
  expect(execFileSync("bash", ["-c", program], { encoding: "utf8" })).toBe(
    "complete -F _keyturn keyturn\n",
  )
})
