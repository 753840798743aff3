/** The server's log lines on standard error: JSON for collectors, text for people. */
import { type Logger, pino, stdSerializers } from "pino"
import { isKnown, type KnownError } from "../errors.ts"
import type { LOG_FORMATS, LOG_LEVELS } from "../server/flags.ts"

interface LogOptions {
  readonly logLevel: (typeof LOG_LEVELS)[number]
  readonly logFormat: (typeof LOG_FORMATS)[number]
}

interface Rim {
  readonly now: () => Date
  write(text: string): void
}

/** Every line is written before the call returns, so that none is lost with the process. */
export function makeLog({ logLevel, logFormat }: LogOptions, { now, write }: Rim): Logger {
  return pino(
    {
      level: logLevel,
      base: null,
      timestamp: () => `,"time":"${now().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: told },
    },
    { write: logFormat === "json" ? write : (line: string) => write(textLine(line)) },
  )
}

/** A foreseen failure is told by its code and its words, and those of its causes; any other brings its stack. */
const told = (error: unknown) =>
  isKnown(error)
    ? { code: error.code, message: wordsOf(error) }
    : stdSerializers.err(error as Error)

function wordsOf(error: KnownError): string {
  const said = [error.message]
  for (let { cause } = error; cause instanceof Error; { cause } = cause) {
    const { message } = cause
    if (!said.some((words) => words.includes(message))) said.push(message)
  }
  return said.join(": ")
}

interface LogRecord {
  readonly level: string
  readonly time: string
  readonly msg?: string
  readonly err?: { readonly code?: string; readonly message?: string; readonly stack?: string }
}

/** `2026-11-23T21:00:00.000Z INFO ready port=6443`; a stack follows on lines of its own. */
export function textLine(line: string): string {
  const { level, time, msg = "", err, ...fields } = JSON.parse(line) as LogRecord
  const { code, message, stack } = err ?? {}
  const failure = stack === undefined && message !== undefined ? `: ${message} (${code})` : ""
  const said = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
  const words = `${msg}${failure}`.replaceAll("\n", "\\n")
  const trace = stack === undefined ? "" : `\n${stack}`
  return `${time} ${level.toUpperCase()} ${words}${said.join("")}${trace}\n`
}
