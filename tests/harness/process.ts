/** Programs that a test runs. Each is ended at the latest when the test file ends (setup.ts), whatever became of the test. */

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { once } from "node:events"
import { constants } from "node:os"

export interface ProgramOptions {
  /** The whole environment; without it the test's own. */
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Written to standard input, which is then closed. */
  readonly stdin?: string | Uint8Array
  /** Who runs it, where root starts it and another is to. */
  readonly uid?: number
  readonly gid?: number
}

export interface Outcome {
  readonly stdout: string
  readonly stderr: string
  /** 128 + the signal's number where a signal ended it, as in a shell. */
  readonly code: number
}

const running = new Set<Program>()
export const endAll = () => Promise.all(Array.from(running, (program) => program.end("SIGKILL")))
process.once("exit", () => {
  for (const program of running) program.signal("SIGKILL")
})

/** A running program: `await using watch = new Program("kubectl", ["get", "secrets", "-w"])`. */
export class Program implements AsyncDisposable {
  stdout = ""
  stderr = ""
  /** Resolves when it has ended and all of its output is here; rejects where it could not be started. */
  readonly ended: Promise<number>
  readonly #child: ChildProcessWithoutNullStreams

  constructor(command: string, args: readonly string[], options: ProgramOptions = {}) {
    const { stdin, ...rest } = options
    this.#child = spawn(command, args, { env: process.env, ...rest })
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => (this.stdout += text))
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => (this.stderr += text))
    this.#child.stdin.on("error", () => {}) // it need not read its input
    this.#child.stdin.end(stdin)
    running.add(this)
    this.ended = this.#end()
    this.ended.catch(() => {}) // whoever waits for it learns of it
  }

  async #end(): Promise<number> {
    try {
      const [code, signal] = (await once(this.#child, "close")) as [number | null, NodeJS.Signals]
      return code ?? 128 + constants.signals[signal]
    } finally {
      running.delete(this)
    }
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.#child.spawnfile} did not start`)
    return this.#child.pid
  }

  get isRunning(): boolean {
    return running.has(this)
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  async end(signal: NodeJS.Signals): Promise<number> {
    this.signal(signal)
    return await this.ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isRunning) await this.end("SIGKILL")
  }
}

/** Runs a program to its end. Rejects, and ends it, where that takes too long. */
export async function run(
  command: string,
  args: readonly string[],
  { timeoutMs = 30_000, ...options }: ProgramOptions & { readonly timeoutMs?: number } = {},
): Promise<Outcome> {
  await using program = new Program(command, args, options)
  const inTime = AbortSignal.timeout(timeoutMs)
  const late = once(inTime, "abort").then(() => {
    const said = program.stdout + program.stderr
    throw new Error(`${command} ${args.join(" ")} ran for more than ${timeoutMs} ms:\n${said}`)
  })
  const code = await Promise.race([program.ended, late])
  return { stdout: program.stdout, stderr: program.stderr, code }
}

/** Waits until `condition` returns something that is not false, null or undefined, and returns that. */
export async function until<T>(
  condition: () => T | Promise<T>,
  { timeoutMs = 10_000, intervalMs = 20, what = String(condition) } = {},
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const found = await condition()
    if (found !== false && found !== null && found !== undefined) return found
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, intervalMs))
  }
}

export interface User {
  readonly uid: number
  readonly gid: number
}

/** A package's own user, for a program that root must not run; undefined where the tests are not root's. */
export async function systemUser(name: string): Promise<User | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const id = async (flag: string) => Number((await run("id", [flag, name])).stdout)
  return { uid: await id("-u"), gid: await id("-g") }
}
