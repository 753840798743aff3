import type { Command } from "commander"
import { expect, test } from "vitest"
import { command } from "../../tests/harness/command.ts"
import { buildProgram } from "./program.ts"

/** The words of every command, groups included. */
const pathsOf = (at: Command, path: readonly string[] = []): (readonly string[])[] => [
  path,
  ...at.commands.flatMap((child) => pathsOf(child, [...path, child.name()])),
]
const paths = pathsOf(buildProgram({ version: "", run: async () => {} }))

test("the tree holds every command", () => {
  expect(paths.map((path) => path.join(" ")).toSorted()).toEqual([
    "",
    "completion",
    "recovery-key",
    "recovery-key create",
    "recovery-key list",
    "recovery-key revoke",
    "secrets-encrypt",
    "secrets-encrypt abort",
    "secrets-encrypt disable",
    "secrets-encrypt enable",
    "secrets-encrypt history",
    "secrets-encrypt keys",
    "secrets-encrypt keys destroy",
    "secrets-encrypt plan",
    "secrets-encrypt prepare",
    "secrets-encrypt reencrypt",
    "secrets-encrypt rotate",
    "secrets-encrypt rotate-keys",
    "secrets-encrypt status",
    "secrets-encrypt verify",
    "server",
    "server leave",
    "snapshot",
    "snapshot list",
    "snapshot restore",
    "snapshot save",
    "token",
    "token rotate",
  ])
})

test.each(paths.map((path) => [path.join(" "), path] as const))(
  "keyturn %s --help prints its usage with an example of itself",
  async (name, path) => {
    for (const flag of ["--help", "-h"]) {
      const { code, stdout, stderr } = await command([...path, flag])
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
      expect(stdout).toContain(`Usage: ${["keyturn", ...path].join(" ")} `)
      expect(stdout).toMatch(new RegExp(`\nExample:\n  .*${["keyturn", name].join(" ").trim()}`))
    }
  },
)

test("--version", async () => {
  expect(await command(["--version"])).toEqual({ code: 0, stdout: "keyturn 1.2.3\n", stderr: "" })
})

const STATUS = ["secrets-encrypt", "status"]
const NO_TOKEN = "https://127.0.0.1:1"

test.each<[readonly string[], string]>([
  [
    [],
    "keyturn needs a command: server, secrets-encrypt, token, recovery-key, snapshot, completion",
  ],
  [["sever"], 'keyturn has no such command; the nearest is "server"'],
  [["token"], "keyturn token needs a command: rotate"],
  [
    ["secrets-encrypt", "rotatekeys"],
    'keyturn secrets-encrypt has no such command; the nearest is "rotate-keys"',
  ],
  [
    [...STATUS, "--tokne=K10abc"],
    "keyturn secrets-encrypt status has no flag --tokne; the nearest is --token",
  ],
  [[...STATUS, "-xK10abc"], "keyturn secrets-encrypt status has no flag -x; the nearest is -o"],
  [
    [...STATUS, "K10abc"],
    "keyturn secrets-encrypt status takes flags only, and there is a word that belongs to none",
  ],
  [
    ["secrets-encrypt", "plan", "rotate-keys", "K10abc"],
    "keyturn secrets-encrypt plan takes flags and one verb, and there is a word that belongs to none",
  ],
  [[...STATUS, "--output"], "keyturn secrets-encrypt status: -o, --output <FORMAT> needs a value"],
  [[...STATUS, "-o", "jsno"], '--output is one of text, json, wide; the nearest is "json"'],
  [["completion"], "keyturn completion needs <shell>"],
  [["completion", "bsh"], 'the shell is one of bash, zsh, fish; the nearest is "bash"'],
  [["server", "--data-dri=x"], "unknown flag --data-dri; the nearest is --data-dir"],
  [[...STATUS, "-s", "h:p:1"], "only https:// URLs are supported, invalid scheme: h://"],
  [[...STATUS, "-s", "p4ss"], "only https:// URLs are supported, invalid scheme: none"],
  [
    [...STATUS, "-s", "http://u:p@h:1/x"],
    "only https:// URLs are supported, invalid scheme: http://h:1",
  ],
  [
    ["token", "rotate", "--new-token=a", "--new-token-file=b"],
    "--new-token and --new-token-file cannot both be given",
  ],
  [
    ["token", "rotate", "--new-token-file=/no", "-s", NO_TOKEN],
    "--new-token-file: there is no file /no",
  ],
  [["token", "rotate", "--new-token-file=/dev/null"], "--new-token-file: /dev/null is empty"],
])("keyturn %j is one sentence and exit code 2", async (argv, sentence) => {
  expect(await command(argv)).toEqual({
    code: 2,
    stdout: "",
    stderr: `keyturn: error: ${sentence}\n`,
  })
})
