/** The server's log lines on standard error: JSON for collectors, text for people. */
import { type Logger, pino } from "pino"
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
    },
    { write: logFormat === "json" ? write : (line: string) => write(textLine(line)) },
  )
}

interface LogRecord {
  readonly level: string
  readonly time: string
  readonly msg?: string
  readonly err?: { readonly message?: string; readonly stack?: string }
}

/** `2026-11-23T21:00:00.000Z INFO ready port=6443`; the stack of an error follows on lines of its own. */
export function textLine(line: string): string {
  const { level, time, msg = "", err, ...fields } = JSON.parse(line) as LogRecord
  const said = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
  const stack = err === undefined ? "" : `\n${err.stack ?? err.message}`
  return `${time} ${level.toUpperCase()} ${msg.replaceAll("\n", "\\n")}${said.join("")}${stack}\n`
}
