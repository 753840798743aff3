/** Real servers, started as a user starts them, and the commands a user gives them. */

import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"
import { type Outcome, Program, run, until } from "./process.ts"

export const KEYTURN = fileURLToPath(new URL("../../bin/keyturn", import.meta.url))

export interface ServerOptions {
  /** Flags after `keyturn server`; of one given twice the last counts. */
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** An existing one to start on; it is left where it is. Without it a new one, deleted at the end. */
  readonly dataDir?: string
}

const homes = new Set<string>()
afterAll(() => {
  for (const home of homes) rmSync(home, { recursive: true, force: true })
})

/** `await using server = await startServer()`: ready when it is here, gone at the end of the block. */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const server = new TestServer(options)
  await server.start()
  return server
}

export class TestServer implements AsyncDisposable {
  readonly dataDir: string
  /** HOME of the server and of its commands: nothing of this machine's user is read or written. */
  readonly home = mkdtempSync(join(tmpdir(), "keyturn-test-"))
  /** Known from the first start on; kept by the following ones, as clients know it. */
  port = 0
  readonly #options: ServerOptions
  #program: Program | undefined
  #logs = ""

  constructor(options: ServerOptions) {
    homes.add(this.home)
    this.#options = options
    this.dataDir = options.dataDir ?? join(this.home, "data")
  }

  /** Returns when it says that it is ready; rejects with its output where it does not within 50 s: it may wait for a datastore
   *  that is starting too. */
  async start(args: readonly string[] = [], failpoints?: string): Promise<void> {
    const own = ["--config", "/dev/null", "--data-dir", this.dataDir]
    const port = ["--https-listen-port", String(this.port)]
    const given = [...(this.#options.args ?? []), ...args]
    const program = new Program(KEYTURN, ["server", ...own, ...port, ...given], {
      env: { ...this.env, KEYTURN_FAILPOINT: failpoints },
    })
    this.#program = program
    const ready = /^keyturn is ready: https:\/\/\S+:(\d+)\n/m
    const said = () => ready.exec(program.stdout)?.[1]
    await until(() => said() ?? !program.isRunning, { timeoutMs: 50_000 }).catch(() => {})
    const announced = said()
    if (announced === undefined) throw new Error(`the server is not ready:\n${this.logs()}`)
    this.port = Number(announced)
  }

  get env(): NodeJS.ProcessEnv {
    const { PATH } = process.env
    return { PATH, HOME: this.home, KUBECONFIG: this.kubeconfig, ...this.#options.env }
  }

  get kubeconfig(): string {
    return join(this.dataDir, "keyturn.yaml")
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.#running.pid
  }

  /** What it wrote to both outputs, over all of its starts. */
  logs(): string {
    return (
      this.#logs + (this.#program === undefined ? "" : this.#program.stdout + this.#program.stderr)
    )
  }

  /** The exit code. */
  stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    return this.#end(signal)
  }

  /** The exit code of one that ends by itself. */
  async ended(): Promise<number> {
    const code = await this.#running.ended
    this.#logs = this.logs()
    this.#program = undefined
    return code
  }

  async kill9(): Promise<void> {
    await this.#end("SIGKILL")
  }

  /** Stops it where it runs, and starts it on the same port, with `args` after those of its first start. */
  async restart(args: readonly string[] = []): Promise<void> {
    if (this.#program !== undefined) await this.stop()
    await this.start(args)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#program !== undefined) await this.kill9()
    rmSync(this.home, { recursive: true, force: true })
    homes.delete(this.home)
    const [warning] = /^\(node:\d+\) .*$/m.exec(this.logs()) ?? []
    if (warning !== undefined) throw new Error(`the server's runtime warned: ${warning}`)
  }

  get #running(): Program {
    if (this.#program === undefined) throw new Error("the server is not running")
    return this.#program
  }

  async #end(signal: NodeJS.Signals): Promise<number> {
    const code = await this.#running.end(signal)
    this.#logs = this.logs()
    this.#program = undefined
    return code
  }
}

export interface CommandOptions {
  readonly stdin?: string | Uint8Array
  /** Besides the server's own. */
  readonly env?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
}

/** The real kubectl, as the server's administrator. */
export const kubectl = (
  server: TestServer,
  argv: readonly string[],
  { env, ...options }: CommandOptions = {},
): Promise<Outcome> => run("kubectl", argv, { env: { ...server.env, ...env }, ...options })

/** Standard output of a kubectl that succeeds without a warning; rejects where it does not. */
export async function kubectlSaid(
  server: TestServer,
  argv: readonly string[],
  options?: CommandOptions,
): Promise<string> {
  const { code, stdout, stderr } = await kubectl(server, argv, options)
  if (code === 0 && stderr === "") return stdout
  throw new Error(`kubectl ${argv.join(" ")} ended with ${code}:\n${stdout}${stderr}`)
}

/** Waits until it stands still, as a failpoint with SIGSTOP leaves it: `start([], "batch:after=SIGSTOP")`. */
export const untilStopped = ({ pid }: TestServer): Promise<boolean> =>
  until(async () => (await run("ps", ["-o", "stat=", "-p", `${pid}`])).stdout.startsWith("T"), {
    timeoutMs: 60_000,
    what: "the server stands still",
  })

/** A command about this server, as its administrator on its machine gives it. */
export const keyturn = (
  server: TestServer,
  argv: readonly string[],
  { env, ...options }: CommandOptions = {},
): Promise<Outcome> =>
  run(KEYTURN, [...argv, "--data-dir", server.dataDir, "--server", server.url], {
    env: { ...server.env, ...env },
    ...options,
  })
