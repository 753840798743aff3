import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { command } from "../../tests/harness/command.ts"

const script = (await command(["completion", "bash"])).stdout

const folder = mkdtempSync(join(tmpdir(), "keyturn-completion-"))
writeFileSync(join(folder, "state-of-mine"), "")
afterAll(() => rmSync(folder, { recursive: true }))

/** Where the cursor stands at the end of the line, and what is offered there. */
const CASES: readonly (readonly [line: string, offered: readonly string[]])[] = [
  ["keyturn s", ["server", "secrets-encrypt", "snapshot"]],
  ["keyturn secrets-encrypt r", ["rotate", "reencrypt", "rotate-keys"]],
  ["keyturn secrets-encrypt status --o", ["--output"]],
  ["keyturn secrets-encrypt status --output ", ["text", "json", "wide"]],
  ["keyturn secrets-encrypt -d x reencrypt --s", ["--server", "--skip"]],
  ["keyturn server --log-level w", ["warn"]],
  ["keyturn server --encryption-provider-config state", ["state-of-mine"]],
  ["keyturn secrets-encrypt status --token ", []],
  ["keyturn completion ", ["bash", "zsh", "fish", "-h", "--help", "-v", "--version"]],
  ["keyturn token r", ["rotate"]],
]

test.each(CASES)("bash: %s", (line, offered) => {
  const words = line.split(" ").map((word) => `'${word}'`)
  const at = `COMP_WORDS=(${words.join(" ")}); COMP_CWORD=${words.length - 1}`
  // compopt works only inside a real completion
  const offer = `compopt() { :; }; ${at}; _keyturn; printf '%s\\n' "\${COMPREPLY[@]}"`
  const said = execFileSync("bash", ["-c", `${script}\n${offer}`], {
    cwd: folder,
    encoding: "utf8",
  })
  const shown = said.split("\n").filter((word) => word !== "")
  expect(shown.toSorted()).toEqual(offered.toSorted())
})

test("bash registers it", () => {
  const program = `${script}\ncomplete -p keyturn`
  expect(execFileSync("bash", ["-c", program], { encoding: "utf8" })).toBe(
    "complete -F _keyturn keyturn\n",
  )
})
