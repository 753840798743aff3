/** `keyturn completion`: a script made from the command tree. What can be typed at a place depends on two things only, the
 *  command so far and the word before, so each script walks to the command and looks both up. */
import type { Command, Option } from "commander"
import { type Context, say } from "./context.ts"
import { flagsOf, oneOf, optionsOf, pathOf } from "./usage.ts"

export const SHELLS = ["bash", "zsh", "fish"] as const

interface Given {
  readonly program: Command
  readonly context: Context
}

export async function completion(shell: string, { program, context }: Given): Promise<void> {
  const scripts = { bash, zsh, fish }
  const make = scripts[oneOf(SHELLS, { text: shell, what: "the shell" })]
  say(context, make(placesOf(program)))
}

/** A command as a place on the command line. */
interface Place {
  /** `keyturn secrets-encrypt status`. */
  readonly path: string
  /** What may stand there beside flags, with its meaning. */
  readonly words: readonly (readonly [word: string, meaning: string])[]
  readonly options: readonly Option[]
}

function placesOf(command: Command): Place[] {
  const children = command.commands.map((child) => [child.name(), child.description()] as const)
  const choices = command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices)
  return [
    {
      path: pathOf(command),
      words: [...children, ...choices.map((word) => [word, ""] as const)],
      options: optionsOf(command),
    },
    ...command.commands.flatMap(placesOf),
  ]
}

const wantsPath = ({ flags }: Option): boolean => /<(FILE|DIR)>$/.test(flags)

/** The body of the function from its loop over the words before the cursor, the same in bash and zsh: which of them lead to
 *  a command, which flags want what as their value, which words stand after a command. `offer` and `files` are the shell's
 *  own commands. */
function body(places: readonly Place[], shell: { offer: string; files: string }) {
  const values = places.flatMap(({ path, options }) =>
    options.flatMap((option) => {
      if (!option.required) return []
      const at = flagsOf(option)
        .map((flag) => quoted(`${path} ${flag}`))
        .join("|")
      const offer = option.argChoices && `${shell.offer} ${quoted(option.argChoices.join(" "))}`
      return [`    ${at}) ${offer ?? (wantsPath(option) ? shell.files : ":")}; return ;;`]
    }),
  )
  const words = places.map(({ path, words, options }) => {
    const all = [...words.map(([word]) => word), ...options.flatMap(flagsOf)]
    return `    ${quoted(path)}) ${shell.offer} ${quoted(all.join(" "))} ;;`
  })
  return `    case "$at $word" in ${commandsOf(places, "|")}) at="$at $word" ;; esac
  done
  case "$at $before" in
${values.join("\n")}
  esac
  case $at in
${words.join("\n")}
  esac
}`
}

const commandsOf = (places: readonly Place[], between: string): string =>
  places
    .slice(1)
    .map(({ path }) => quoted(path))
    .join(between)

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

function bash(places: readonly Place[]): string {
  const files = 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current"))'
  return `# bash completion for keyturn; to use it: source <(keyturn completion bash)
_keyturn_offer() { COMPREPLY=($(compgen -W "$1" -- "$current")); }
_keyturn() {
  local word at=keyturn current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
${body(places, { offer: "_keyturn_offer", files })}
complete -F _keyturn keyturn`
}

function zsh(places: readonly Place[]): string {
  return `#compdef keyturn
# zsh completion for keyturn; to use it: source <(keyturn completion zsh)
_keyturn_offer() { compadd -- \${=1} }
_keyturn() {
  local word at=keyturn before=\${words[CURRENT-1]}
  for word in \${words[2,CURRENT-1]}; do
${body(places, { offer: "_keyturn_offer", files: "_files" })}
# Sourced it registers itself; as a file "_keyturn" in fpath it is the function that is being completed with.
if [[ \${funcstack[1]} == _keyturn ]]; then _keyturn "$@"; else compdef _keyturn keyturn; fi`
}

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words, options }) => {
    const start = `complete -c keyturn -n ${quoted(`__keyturn_at ${path}`)}`
    return [
      ...words.map(([word, meaning]) => `${start} -a ${quoted(word)} -d ${quoted(meaning)}`),
      ...options.map((option) => `${start}${fishOption(option)}`),
    ]
  })
  return `# fish completion for keyturn; to use it: keyturn completion fish | source
function __keyturn_at
    set -l at keyturn
    for word in (commandline -opc)[2..]
        switch "$at $word"
            case ${commandsOf(places, " ")}
                set at "$at $word"
        end
    end
    test "$at" = "$argv"
end
complete -c keyturn -f
${lines.join("\n")}`
}

function fishOption(option: Option): string {
  const { short, long, description, required, argChoices } = option
  const value = argChoices
    ? ` -x -a ${quoted(argChoices.join(" "))}`
    : wantsPath(option)
      ? " -r -F"
      : required
        ? " -x"
        : ""
  const flags = [short && ` -s ${short.slice(1)}`, long && ` -l ${long.slice(2)}`]
  return `${flags.filter(Boolean).join("")}${value} -d ${quoted(description)}`
}
