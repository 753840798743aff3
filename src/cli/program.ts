/** The tree of all commands: what parsing, --help, completion and docs/cli.md are made from. A command's own code is loaded
 *  when it is run. */
import { Argument, Command, Option } from "commander"
import { VERBS, type Verb } from "../rotation/operation.ts"
import { environmentName, SERVER_FLAGS, type ServerFlag } from "../server/flags.ts"
import { completion, SHELLS } from "./completion.ts"
import type { ConnectOptions } from "./connect.ts"
import type { Context } from "./context.ts"
import type { StatusOptions } from "./status.ts"
import type { TokenOptions } from "./token.ts"
import { choice } from "./usage.ts"
import { VERB_TABLE } from "./verb-table.ts"
import type { VerbOptions } from "./verbs.ts"

export type Task = (context: Context) => Promise<void>

type Run = (task: Task) => Promise<void>

/** `run` gets the task of the command that was typed; whoever only reads the tree runs nothing. */
export function buildProgram({
  version,
  run,
}: {
  readonly version: string
  readonly run: Run
}): Command {
  const program = command(
    "keyturn",
    "Kubernetes Secrets encrypted at rest, and their keys turned without a restart",
  )
    .version(`keyturn ${version}`, "-v, --version", "Print the version")
    .addHelpText("after", example("keyturn server --secrets-encryption"))
  program.addCommand(serverCommand())
  program.addCommand(secretsEncrypt(run))
  program.addCommand(
    command("token", "Manage the token, the servers' shared secret").addCommand(
      connected(
        "rotate",
        "Replace the token: the old one opens nothing from now on, but older backups",
      )
        .option(
          "--new-token <TOKEN>",
          "The new token. The process list shows it: better --new-token-file",
        )
        .option(
          "--new-token-file <FILE>",
          "File that holds the new token; without one it is made at random",
        )
        .addHelpText("after", example("keyturn token rotate --new-token-file /root/new-token"))
        .action((options: TokenOptions) =>
          run(async (context) => (await import("./token.ts")).rotateToken(options, context)),
        ),
    ),
  )
  program.addCommand(
    command(
      "recovery-key",
      "Manage recovery keys, which open the keyring when the token is lost",
    ).addCommand(
      connected("create", "Make a recovery key and print it, this one time")
        .addHelpText(
          "after",
          example("keyturn recovery-key create > /media/usb/keyturn-recovery-key"),
        )
        .action((options: ConnectOptions) =>
          run(async (context) => (await import("./token.ts")).createRecoveryKey(options, context)),
        ),
    ),
  )
  program.addCommand(
    command("completion", "Print the completion script of a shell")
      .addArgument(new Argument("<shell>").choices(SHELLS).argParser((text: string) => text))
      .addHelpText("after", example("source <(keyturn completion bash)"))
      .action((shell: string) => run((context) => completion(shell, { program, context }))),
  )
  return program
}

function secretsEncrypt(run: Run): Command {
  const group = command("secrets-encrypt", "Control secrets encryption and keys rotation")
  group.addCommand(
    connected("status", "Print current status of secrets encryption")
      .addOption(
        choice("-o, --output <FORMAT>", "Format of the output", ["text", "json"]).default("text"),
      )
      .addHelpText("after", example("keyturn secrets-encrypt status -o json"))
      .action((options: StatusOptions) =>
        run(async (context) => (await import("./status.ts")).status(options, context)),
      ),
  )
  for (const verb of VERBS) group.addCommand(verbCommand(verb, run))
  return group
}

function verbCommand(verb: Verb, run: Run): Command {
  const { summary, flags, finished } = VERB_TABLE[verb]
  const made = connected(verb, summary)
  if (flags.includes("force"))
    made.option(
      "-f, --force",
      "Force this stage: skip the order of the stages and the comparison of hashes",
    )
  if (flags.includes("skip")) made.option("--skip", "Skip removing old key")
  if (finished !== null) {
    made.option("--wait", "Wait until all stored values are rewritten")
    made.option("--no-wait", "Return as soon as the server has begun")
  }
  return made
    .addHelpText("after", example(`keyturn secrets-encrypt ${verb}`))
    .action((options: VerbOptions) =>
      run(async (context) => (await import("./verbs.ts")).takeVerb(verb, options, context)),
    )
}

/** Its arguments are read by server/, which knows the configuration file too; here they stand for help and completion. */
function serverCommand(): Command {
  const server = command("server", "Serve the Kubernetes API for Secrets").addHelpText(
    "after",
    [
      "",
      `Each flag is also an environment variable (${environmentName("data-dir")}) and a key of the configuration file.`,
      example("keyturn server --secrets-encryption --data-dir /srv/keyturn"),
    ].join("\n"),
  )
  for (const flag of SERVER_FLAGS) server.addOption(serverOption(flag))
  return server
}

function serverOption({ name, short, type, value, default: standard, help }: ServerFlag): Option {
  const words = typeof value === "string" ? null : value
  const long = type === "switch" ? `--${name}` : `--${name} <${words === null ? value : "WORD"}>`
  const option = new Option(short === "" ? long : `-${short}, ${long}`, help)
  if (type === "choice" && words !== null) option.choices(words)
  const { root, user } =
    typeof standard === "string" ? { root: standard, user: standard } : standard
  const shown = root === user ? root : `${root} for root, ${user} otherwise`
  return shown === "" || type === "switch" ? option : option.default(shown, shown)
}

function connected(name: string, summary: string): Command {
  return command(name, summary)
    .option(
      "-d, --data-dir <DIR>",
      "Folder of the server's state, where its address and token are found",
    )
    .option("-s, --server <URL>", "The server to connect to (KEYTURN_URL)")
    .option("-t, --token <TOKEN>", "The server's token (KEYTURN_TOKEN)")
}

const command = (name: string, summary: string): Command =>
  new Command(name)
    .description(summary)
    .helpCommand(false)
    .helpOption("-h, --help", "Print this help")

const example = (line: string) => `\nExample:\n  ${line}`
