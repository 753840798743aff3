/** One command line from its words to its exit code. */
import { constants } from "node:os"
import { ERRORS, isKnown } from "../errors.ts"
import { type Context, note } from "./context.ts"
import { buildProgram } from "./program.ts"
import { shellWord } from "../shell-word.ts"
import { Shown, throwMistakes } from "./usage.ts"

/** `argv` without the program itself. */
export async function run(argv: readonly string[], context: Context): Promise<number> {
  const [first, ...rest] = argv
  try {
    const isServer = first === "server" && rest[0] !== "leave"
    if (isServer && !rest.some((word) => word === "-h" || word === "--help")) {
      const { server } = await import("./server.ts")
      await server(rest, context)
    } else {
      const program = buildProgram({ version: context.version, run: (task) => task(context) })
      throwMistakes(program, context.stdout.write)
      await program.parseAsync(argv, { from: "user" })
    }
    return 0
  } catch (error) {
    return error instanceof Shown ? 0 : tell(error, context, argv)
  }
}

/** Commands in hints, as this person calls the program, for the server that was meant. */
function asTyped(hint: string, { command }: Context, argv: readonly string[]): string {
  const of = ["--data-dir", "--server"].flatMap((flag) => given(flag, argv))
  return hint.replaceAll(/\b(run|mostly): keyturn ([a-z-]+(?: [a-z-]+)*)/g, (_, begins, words) =>
    [`${begins}: ${command}`, words, ...of.map(shellWord)].join(" "),
  )
}

const given = (flag: string, argv: readonly string[]): string[] =>
  argv.flatMap((word, at) => {
    if (word === flag) return [flag, argv[at + 1] ?? ""]
    return word.startsWith(`${flag}=`) ? [word] : []
  })

/** Prints a failure and returns the exit code for it. Only what this program foresees has words that are safe to show. */
function tell(error: unknown, context: Context, argv: readonly string[]): number {
  const { signal } = context
  if (signal.aborted && !isKnown(error)) {
    return 128 + constants.signals[signal.reason as NodeJS.Signals]
  }
  if (isKnown(error)) {
    const { exit, hint } = ERRORS[error.code]
    note(context, `error: ${error.message}`)
    if (hint !== "") note(context, `hint: ${asTyped(hint, context, argv)}`)
    return exit
  }
  const stack = error instanceof Error ? error.stack : String(error)
  note(context, `error: this is a bug in keyturn, please report it: ${stack}`)
  return 70
}
