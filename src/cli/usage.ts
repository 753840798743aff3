/** Mistakes of whoever types a command: one sentence with the nearest valid name, exit code 2. A word that belongs nowhere is
 *  not repeated, for it may be a token that went astray. */
import { type Command, CommanderError, Option } from "commander"
import { KnownError } from "../errors.ts"
import { nearest } from "../server/nearest.ts"

const usage = (message: string) => new KnownError("UsageInvalid", message)

/** An option that takes one of a few words. */
export function choice(flags: string, help: string, allowed: readonly string[]): Option {
  const option = new Option(flags, help).choices(allowed)
  return option.argParser((text: string) => oneOf(allowed, { text, what: option.long ?? flags }))
}

export function oneOf<T extends string>(
  allowed: readonly T[],
  { text, what }: { readonly text: string; readonly what: string },
): T {
  const found = allowed.find((word) => word === text)
  if (found !== undefined) return found
  throw usage(`${what} is one of ${allowed.join(", ")}; the nearest is "${nearest(text, allowed)}"`)
}

/** Makes the whole tree throw instead of ending the process: help and version a {@link Shown}, the rest UsageInvalid. */
export function throwMistakes(command: Command, write: (text: string) => void): void {
  command.configureOutput({ writeOut: write, writeErr: () => {}, outputError: () => {} })
  command.exitOverride((error) => {
    throw error.exitCode === 0 ? new Shown() : mistake(command, error)
  })
  for (const child of command.commands) throwMistakes(child, write)
}

/** What was asked for has been printed: there is nothing left to do. */
export class Shown extends Error {}

function mistake(command: Command, { code, message }: CommanderError): KnownError {
  const path = pathOf(command)
  const [, word = ""] = /'([^']*)'/.exec(message) ?? []
  switch (code) {
    case "commander.help":
      return usage(`${path} needs a command: ${namesOf(command).join(", ")}`)
    case "commander.unknownCommand":
      return usage(
        `${path} has no such command; the nearest is "${nearest(word, namesOf(command))}"`,
      )
    case "commander.unknownOption":
      return usage(
        `${path} has no flag ${nameOf(word)}; the nearest is ${nearest(nameOf(word), flagsAt(command))}`,
      )
    case "commander.excessArguments":
      return usage(`${path} takes ${takenBy(command)}, and there is a word that belongs to none`)
    case "commander.missingArgument":
      return usage(`${path} needs ${command.usage().replace("[options] ", "")}`)
    case "commander.optionMissingArgument":
      return usage(`${path}: ${word} needs a value`)
    default:
      return usage(`${path}: ${message.replace(/^error: /, "")}`)
  }
}

/** `keyturn secrets-encrypt status`. */
export const pathOf = (command: Command): string =>
  command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`

const takenBy = ({ registeredArguments: [argument] }: Command): string =>
  argument === undefined ? "flags only" : `flags and one ${argument.name()}`

const namesOf = ({ commands }: Command): string[] => commands.map((child) => child.name())

/** `--tokne=secret` and `-xsecret` without what may be secret. */
const nameOf = (word: string): string =>
  word.startsWith("--") ? word.replace(/=.*$/, "") : word.slice(0, 2)

const flagsAt = (command: Command): string[] => optionsOf(command).flatMap(flagsOf)

/** `-o` and `--output`. */
export const flagsOf = ({ short, long }: Option): string[] =>
  [short, long].filter((flag) => flag !== undefined)

/** What may stand after a command: its own flags, its group's and the program's. */
export function optionsOf(command: Command): Option[] {
  const help = command.createHelp()
  return [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)]
}
