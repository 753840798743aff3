/** The rim of the program: arguments, environment, clock, signals and both outputs enter here and nowhere else. */
import { homedir, hostname } from "node:os"
import { readFileSync } from "node:fs"
import process from "node:process"
import { createInterface } from "node:readline/promises"
import type { Output } from "./cli/context.ts"

// Before anything else is loaded: the arguments may hold a token, and the process list shows them to everybody.
const argv = process.argv.slice(2)
process.title = argv[0] === "server" ? "keyturn server" : "keyturn"

const interrupt = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => interrupt.abort(signal))
}

// Whoever reads our output may leave early (`| head`). A server outlives a log that cannot be written for now: a full disk.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", ({ code }: NodeJS.ErrnoException) => {
    if (code === "EPIPE" || argv[0] !== "server") process.exit(1)
  })

const output = (stream: NodeJS.WriteStream): Output => ({
  isTerminal: stream.isTTY,
  get columns() {
    return stream.columns || 80 // 0 on a terminal that has no size
  },
  write: (text) => {
    stream.write(text)
  },
})

async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  terminal.once("SIGINT", () => interrupt.abort("SIGINT"))
  terminal.on("SIGCONT", () => terminal.resume()) // after Ctrl-Z it reads nothing by itself
  try {
    return await terminal.question(question, { signal: interrupt.signal })
  } catch (error) {
    if (interrupt.signal.aborted) throw error
    return "" // Ctrl-D
  } finally {
    terminal.close()
  }
}

const { version } = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8"),
) as { version: string }

// The published program is JavaScript, and has no such points.
const { KEYTURN_FAILPOINT: failpoints } = process.env
if (failpoints !== undefined && import.meta.filename.endsWith(".ts")) {
  const { armFailpoints } = await import("./step.ts")
  armFailpoints(failpoints, (signal) => process.kill(process.pid, signal))
}

const { shellWord } = await import("./shell-word.ts")
const { run } = await import("./cli/run.ts")
process.exitCode = await run(argv, {
  version,
  command: shellWord(process.env.KEYTURN_COMMAND ?? "keyturn"),
  env: process.env,
  home: homedir(),
  hostname: hostname(),
  isRoot: process.geteuid?.() === 0,
  stdout: output(process.stdout),
  stderr: output(process.stderr),
  ask: process.stdin.isTTY && process.stderr.isTTY ? ask : null,
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  signal: interrupt.signal,
})
