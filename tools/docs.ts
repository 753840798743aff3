/** The pages that are printed from the program's own tables. `npm run docs` writes them, docs.test.ts compares. */

import type { Command } from "commander"
import { readFileSync, writeFileSync } from "node:fs"
import { STAGES } from "../src/keyring/keyring.ts"
import { ERRORS, type ErrorRow } from "../src/errors.ts"
import { VERB_TABLE, type VerbRow } from "../src/rotation/verbs.ts"
import { buildProgram } from "../src/cli/program.ts"
import { pathOf } from "../src/cli/usage.ts"
import { environmentName, SERVER_FLAGS, type ServerFlag } from "../src/server/flags.ts"

/** Path below the project's root → text. */
export const PAGES: Readonly<Record<string, () => string>> = {
  "docs/errors.md": errorsPage,
  "docs/cli.md": cliPage,
  "docs/stages.md": stagesPage,
}

function errorsPage(): string {
  const rows = Object.entries<ErrorRow>(ERRORS).map(([code, { http, exit, again, hint }]) => [
    `\`${code}\``,
    String(http),
    String(exit),
    again === "retry" ? "yes" : "no",
    prose(hint),
  ])
  return page("Errors", "src/errors.ts", [
    "What keyturn says when something foreseen goes wrong. `HTTP` is the status the API answers with, `exit` the exit code",
    "of a command, `again` whether the same call may succeed later without anybody changing anything.",
    "",
    ...table(["code", "HTTP", "exit", "again", "what to do"], rows),
  ])
}

function cliPage(): string {
  const rows = SERVER_FLAGS.map((flag) => [
    [`--${flag.name}`, ...(flag.short === "" ? [] : [`-${flag.short}`])].map(code).join(", "),
    code(environmentName(flag.name)),
    valuesOf(flag),
    defaultOf(flag),
    prose(flag.help),
  ])
  return page("Command line", "src/server/flags.ts and src/cli/program.ts", [
    "## keyturn server",
    "",
    "A flag beats its environment variable, and that beats the configuration file, whose keys are the flags without `--`.",
    "",
    ...table(["flag", "environment", "value", "default", "meaning"], rows),
    ...commands().flatMap((command) => [
      "",
      `## ${pathOf(command)}`,
      "",
      "```",
      helpOf(command),
      "```",
    ]),
  ])
}

/** What can be typed, but for the server, whose flags are a table. */
function commands(): Command[] {
  const below = ({ commands }: Command): Command[] =>
    commands.flatMap((command) => [command, ...below(command)])
  return below(buildProgram({ version: "", run: async () => {} })).filter(
    (command) => command.name() !== "server",
  )
}

/** As --help prints it, on a page of this width whatever the terminal. */
function helpOf(command: Command): string {
  const lines: string[] = []
  command.configureOutput({ getOutHelpWidth: () => 100, writeOut: (text) => lines.push(text) })
  command.outputHelp()
  return lines.join("").trim()
}

function stagesPage(): string {
  const stages = (list: readonly string[]): string => list.map(code).join(", ")
  const rows = Object.entries<VerbRow>(VERB_TABLE).map(([verb, { from, own, to, because }]) => [
    code(verb),
    stages(from),
    stages(own),
    isStage(to) ? code(to) : to,
    because,
  ])
  return page("Stages", "src/rotation/verbs.ts", [
    "The stage that `keyturn secrets-encrypt status` shows, and what leads from one to the next. A verb taken at another stage is refused",
    "and changes nothing; `--force` skips the order and the comparison of hashes, nothing else. A verb repeated where it was taken",
    "already succeeds and changes nothing. `reencrypt_active` becomes `reencrypt_finished` by itself, when the proof has been made:",
    "`reencrypt` changes nothing while that rewrite runs, and begins it again where its record was lost.",
    "",
    "`abort` goes by what the keyring says of the first step of the rotation: it leads back to the stage at which that was taken, and is refused",
    "where nothing was begun since the last retirement. After it `reencrypt` is refused at `reencrypt_finished` too: values may lie under the",
    "key that was given up, until the next rotation.",
    "",
    "I1 to I5 are in [invariants.md](invariants.md).",
    "",
    ...table(["verb", "taken at", "repeated at", "leads to", "because"], rows),
  ])
}

const isStage = (to: VerbRow["to"]) => (STAGES as readonly string[]).includes(to)

const code = (text: string): string => `\`${text}\``

/** Markdown takes `<data-dir>` outside of code for a tag. */
const prose = (text: string): string => text.replaceAll("<", "&lt;")

const valuesOf = ({ value }: ServerFlag): string =>
  typeof value === "string" ? code(value) : value.map(code).join(", ")

function defaultOf({ default: standard }: ServerFlag): string {
  if (standard === "") return ""
  if (typeof standard === "string") return code(standard)
  return `${code(standard.root)} for root, ${code(standard.user)} otherwise`
}

function page(title: string, source: string, lines: readonly string[]): string {
  return [
    `<!-- Printed from ${source} by \`npm run docs\`: change it there. -->`,
    `# ${title}`,
    "",
    ...lines,
    "",
  ].join("\n")
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`
  return [line(head), line(head.map(() => "---")), ...rows.map(line)]
}

const file = (path: string): URL => new URL(`../${path}`, import.meta.url)

/** The pages whose file differs from what the tables say now. */
export function outOfDate(): string[] {
  return Object.entries(PAGES).flatMap(([path, print]) => {
    try {
      return readFileSync(file(path), "utf8") === print() ? [] : [path]
    } catch {
      return [path]
    }
  })
}

if (import.meta.main) {
  for (const [path, print] of Object.entries(PAGES)) writeFileSync(file(path), print())
}
