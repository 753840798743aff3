/** What was asked for, and where: arguments, environment and configuration file brought to one form, the text of each setting.
 *  Unknown names end here; what a text means is for options.ts. */
import { parseArgs } from "node:util"
import { isMap, isScalar, isSeq, type Pair, parseDocument } from "yaml"
import { KnownError } from "../errors.ts"
import {
  environmentName,
  type FlagName,
  placeholder,
  SERVER_FLAGS,
  type ServerFlag,
} from "./flags.ts"
import { nearest } from "./nearest.ts"

/** `text` as it was written (a list with commas); `where` is what a message about it begins with. */
export interface Setting {
  readonly text: string
  readonly where: string
}

export type Settings = { readonly [name in FlagName]?: Setting }

/** A mistake of whoever starts the server. No message may quote a value that could be a token. */
export const usage = (message: string) => new KnownError("UsageInvalid", message)

const PARSE_OPTIONS = Object.fromEntries(
  SERVER_FLAGS.map(({ name, short, type }) => [
    name,
    { type: type === "switch" ? "boolean" : "string", ...(short === "" ? {} : { short }) } as const,
  ]),
)

export function fromArguments(argv: readonly string[]): Settings {
  const { tokens } = parseArgs({
    args: [...argv],
    options: PARSE_OPTIONS,
    strict: false,
    tokens: true,
  })
  const settings: { -readonly [name in FlagName]?: Setting } = {}
  let last = "keyturn server"
  for (const token of tokens) {
    if (token.kind !== "option") throw stray(last)
    const flag = SERVER_FLAGS.find(({ name }) => name === token.name)
    if (flag === undefined) throw unknownFlag(token.rawName)
    const text = argument(flag, token)
    const before = flag.type === "list" ? settings[flag.name] : undefined
    last = `--${flag.name}`
    settings[flag.name] = {
      text: before === undefined ? text : `${before.text},${text}`,
      where: last,
    }
  }
  return settings
}

interface OptionToken {
  readonly rawName: string
  readonly value: string | undefined
  readonly inlineValue: boolean | undefined
}

function argument(flag: ServerFlag, { rawName, value, inlineValue }: OptionToken): string {
  const long = `--${flag.name}`
  if (inlineValue === true && !rawName.startsWith("--")) {
    throw usage(
      `${rawName} is followed by a blank and its value, or write ${long}=${placeholder(flag)}`,
    )
  }
  if (flag.type === "switch") return value ?? "true"
  if (value === undefined) throw usage(`${long} needs a value: ${long} ${placeholder(flag)}`)
  if (inlineValue === false && /^-./.test(value)) {
    throw usage(`${long} needs a value; one that begins with a dash is written ${long}=VALUE`)
  }
  return value
}

function unknownFlag(written: string) {
  const known = SERVER_FLAGS.flatMap(({ name, short }) =>
    short === "" ? [`--${name}`] : [`--${name}`, `-${short}`],
  )
  return usage(`unknown flag ${written}; the nearest is ${nearest(written, known)}`)
}

/** The word itself is not quoted: it may be a token that went astray. */
const stray = (last: string) =>
  usage(
    `a word after ${last} belongs to no flag: keyturn server takes flags only, as in --data-dir DIR`,
  )

/** Other names that begin with KEYTURN_ are left alone: beside a Service called "keyturn" every pod has some. An empty
 *  variable is one that is not set. */
export function fromEnvironment(env: Readonly<Record<string, string | undefined>>): Settings {
  const found = SERVER_FLAGS.flatMap(({ name }) => {
    const where = environmentName(name)
    const text = env[where] ?? ""
    return text === "" ? [] : [[name, { text, where }] as const]
  })
  return Object.fromEntries(found)
}

/** The configuration file. It is read without YAML's types: what counts is the text (`0644` stays 0644), as in a flag. */
export function fromFile(path: string, content: string): Settings {
  const document = parseDocument(content, { schema: "failsafe" })
  const [error] = document.errors
  if (error !== undefined) {
    const place = error.linePos?.[0]
    throw usage(`${path} is not valid YAML at line ${place?.line}, column ${place?.col}`)
  }
  if (document.contents === null || content.trim() === "") return {}
  if (!isMap(document.contents)) throw usage(`${path} must hold settings as "name: value"`)
  return Object.fromEntries(document.contents.items.map((item) => entry(path, item)))
}

function entry(path: string, { key, value }: Pair): [FlagName, Setting] {
  const name = plainText(key) ?? ""
  const inFile = SERVER_FLAGS.filter((flag) => flag.name !== "config")
  const flag = inFile.find((known) => known.name === name)
  if (flag === undefined) {
    const known = inFile.map((each) => each.name)
    throw usage(`unknown key "${name}" in ${path}; the nearest is "${nearest(name, known)}"`)
  }
  const where = `${name} in ${path}`
  const texts =
    flag.type === "list" && isSeq(value) ? value.items.map(plainText) : [plainText(value)]
  if (texts.includes(null)) {
    const list = flag.type === "list" ? " or a list of them" : ""
    throw usage(`${where} must be a plain value${list}`)
  }
  return [flag.name, { text: texts.join(","), where }]
}

const plainText = (node: unknown): string | null => {
  if (node === null) return ""
  return isScalar(node) && typeof node.value === "string" ? node.value : null
}
