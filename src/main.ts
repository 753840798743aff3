/** The rim of the program: arguments, environment, clock, signals and both outputs enter here and nowhere else. */
import { homedir, hostname } from "node:os"
import { readFileSync } from "node:fs"
import process from "node:process"
import type { Output } from "./cli/context.ts"

// Before anything else is loaded: the arguments may hold a token, and the process list shows them to everybody.
const argv = process.argv.slice(2)
process.title = argv[0] === "server" ? "keyturn server" : "keyturn"

const interrupt = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => interrupt.abort(signal))
}

// Whoever reads our output may leave early (`| head`).
process.stdout.on("error", () => process.exit(1))
process.stderr.on("error", () => process.exit(1))

const output = (stream: NodeJS.WriteStream): Output => ({
  isTerminal: stream.isTTY,
  get columns() {
    return stream.columns || 80 // 0 on a terminal that has no size
  },
  write: (text) => {
    stream.write(text)
  },
})

const { version } = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8"),
) as { version: string }

// The published program is JavaScript, and has no such points.
const { KEYTURN_FAILPOINT: failpoints } = process.env
if (failpoints !== undefined && import.meta.filename.endsWith(".ts")) {
  const { armFailpoints } = await import("./step.ts")
  armFailpoints(failpoints, (signal) => process.kill(process.pid, signal))
}

const { run } = await import("./cli/run.ts")
process.exitCode = await run(argv, {
  version,
  command: process.env.KEYTURN_COMMAND ?? "keyturn",
  env: process.env,
  home: homedir(),
  hostname: hostname(),
  isRoot: process.geteuid?.() === 0,
  stdout: output(process.stdout),
  stderr: output(process.stderr),
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  signal: interrupt.signal,
})
