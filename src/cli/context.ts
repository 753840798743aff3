/** What a command sees of the process; main.ts makes the real one. Standard output is for scripts (K3s' exact lines), standard
 *  error for people: progress, notes and failures. */

export interface Output {
  readonly isTerminal: boolean
  readonly columns: number
  write(text: string): void
}

export interface Context {
  readonly version: string
  /** How the program was called, for the commands that it tells people to type. */
  readonly command: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly home: string
  readonly hostname: string
  readonly isRoot: boolean
  readonly stdout: Output
  readonly stderr: Output
  /** Asks the person at the terminal for one line; null where there is none. */
  readonly ask: ((question: string) => Promise<string>) | null
  readonly now: () => Date
  /** Monotonic milliseconds. */
  readonly monotonicMs: () => number
  /** Aborted by SIGINT and SIGTERM; its reason is the signal's name. */
  readonly signal: AbortSignal
}

/** A result, one line. */
export const say = ({ stdout }: Context, line: string) => stdout.write(`${line}\n`)

/** The form that a result is asked for in. */
export interface OutputOptions {
  readonly output: "text" | "json"
}

/** A result of many lines: `text` for people, with its last line end, or all of it as JSON. */
export const show = (
  { stdout }: Context,
  { output }: OutputOptions,
  { json, text }: { readonly json: unknown; readonly text: string },
) => stdout.write(output === "json" ? `${JSON.stringify(json, null, "\t")}\n` : text)

/** A sentence for the person who typed the command. */
export const note = ({ stderr }: Context, sentence: string) =>
  stderr.write(`keyturn: ${sentence}\n`)
