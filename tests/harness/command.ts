/** A command run inside the test's process, with all that it sees of the world given by the test. */
import { run } from "../../src/cli/run.ts"

export interface CommandWorld {
  readonly env?: Readonly<Record<string, string>>
  readonly isTerminal?: boolean
  readonly ask?: (question: string) => Promise<string>
  readonly signal?: AbortSignal
  readonly monotonicMs?: () => number
}

export async function command(argv: readonly string[], world: CommandWorld = {}) {
  const { env = {}, isTerminal = false, monotonicMs = () => performance.now() } = world
  const said = { stdout: "", stderr: "" }
  const output = (to: keyof typeof said) => ({
    isTerminal,
    columns: 80,
    write: (text: string) => {
      said[to] += text
    },
  })
  const code = await run(argv, {
    version: "1.2.3",
    command: "keyturn",
    env: { KEYTURN_CONFIG: "/dev/null", ...env },
    home: "/nonexistent",
    hostname: "n1",
    isRoot: false,
    stdout: output("stdout"),
    stderr: output("stderr"),
    ask: world.ask ?? null,
    now: () => new Date(),
    monotonicMs,
    signal: world.signal ?? new AbortController().signal,
  })
  return { code, ...said }
}
