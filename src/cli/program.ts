/** The tree of all commands: what parsing, --help, completion and docs/cli.md are made from. A command's own code is loaded
 *  when it is run. */
import { Argument, Command, Option } from "commander"
import { type Verb, VERBS } from "../rotation/operation.ts"
import { type FlagName, SERVER_FLAGS, type ServerFlag } from "../server/flags.ts"
import { completion, SHELLS } from "./completion.ts"
import type { ConnectOptions } from "./connect.ts"
import type { Context, OutputOptions } from "./context.ts"
import type { SaveOptions } from "./snapshot.ts"
import type { StatusOptions } from "./status.ts"
import type { TokenOptions } from "./token.ts"
import { choice } from "./usage.ts"
import { VERB_COMMANDS } from "./verb-commands.ts"
import type { VerbOptions } from "./verbs.ts"
import type { VerifyOptions } from "./verify.ts"

export type Task = (context: Context) => Promise<void>

/** Gets the task of the command that was typed. Whoever only reads the tree runs nothing. */
export type Run = (task: Task) => Promise<void>

export function buildProgram({ version, run }: { readonly version: string; readonly run: Run }) {
  const program: Command = command("keyturn", {
    summary: "Kubernetes Secrets encrypted at rest, and their keys turned without a restart",
    example: "keyturn server --secrets-encryption",
  })
  return program
    .helpCommand("help [command]", "Print the help of a command")
    .version(`keyturn ${version}`, "-v, --version", "Print the version")
    .addCommand(serverCommand(run))
    .addCommand(secretsEncryptCommand(run))
    .addCommand(tokenCommand(run))
    .addCommand(recoveryKeyCommand(run))
    .addCommand(snapshotCommand(run))
    .addCommand(
      completionCommand((shell) => run((context) => completion(shell, { program, context }))),
    )
}

/** Its arguments are read by server/, which knows the configuration file too; here they stand for help and completion. */
function serverCommand(run: Run): Command {
  const server = command("server", {
    summary: "Serve the Kubernetes API for Secrets",
    example: "keyturn server --secrets-encryption --data-dir /srv/keyturn",
  })
  for (const flag of SERVER_FLAGS) server.addOption(serverOption(flag))
  return server.addCommand(leaveCommand(run))
}

function leaveCommand(run: Run): Command {
  return connected("leave", {
    summary: "Take this server out of its cluster on the embedded etcd, for good, and end it",
    example: "keyturn server leave",
  }).action(
    act(run, async (options: ConnectOptions, context) =>
      (await import("./leave.ts")).leave(options, context),
    ),
  )
}

function serverOption({ name, short, type, value, default: standard, help }: ServerFlag): Option {
  const words = typeof value === "string" ? [] : value
  const argument = typeof value === "string" ? value : "WORD"
  const long = type === "switch" ? `--${name}` : `--${name} <${argument}>`
  const option = new Option(short === "" ? long : `-${short}, ${long}`, help)
  if (type === "switch") return option
  if (type === "choice") option.choices(words)
  const shown =
    typeof standard === "string"
      ? standard
      : `${standard.root} for root, ${standard.user} otherwise`
  return shown === "" ? option : option.default(shown, shown)
}

function secretsEncryptCommand(run: Run): Command {
  const status = command("status", {
    summary: "Print current status of secrets encryption",
    example: "keyturn secrets-encrypt status -o json",
  })
    .addOption(outputOption("wide"))
    .action(
      act(run, async (options: StatusOptions, context) =>
        (await import("./status.ts")).status(options, context),
      ),
    )
  const group = connected("secrets-encrypt", {
    summary: "Control secrets encryption and keys rotation",
    example: "keyturn secrets-encrypt rotate-keys",
  })
    .addCommand(status)
    .addCommand(keysCommand(run))
    .addCommand(historyCommand(run))
    .addCommand(verifyCommand(run))
    .addCommand(planCommand(run))
  for (const verb of VERBS) group.addCommand(verbCommand(verb, run))
  return group
}

function keysCommand(run: Run): Command {
  const destroy = command("destroy", {
    summary: "Remove the bytes of a retired key for good; asks for its name again",
    example: "keyturn secrets-encrypt keys destroy aescbckey",
  })
    .argument("<name>", "Its name")
    .option("--confirm <NAME>", "The name again, where nobody can be asked")
    .action((name: string, _own, destroy: Command) =>
      run(async (context) =>
        (await import("./keys.ts")).destroyKey(name, destroy.optsWithGlobals(), context),
      ),
    )
  return command("keys", {
    summary: "List all keys, with what is stored under each",
    example: "keyturn secrets-encrypt keys",
  })
    .addCommand(destroy)
    .addOption(outputOption())
    .action(
      act(run, async (options: ConnectOptions & OutputOptions, context) =>
        (await import("./keys.ts")).listKeys(options, context),
      ),
    )
}

const historyCommand = (run: Run): Command =>
  command("history", {
    summary: "Print what was done to the keys: who, when, from where, and how it ended",
    example: "keyturn secrets-encrypt history -o json",
  })
    .addOption(outputOption())
    .action(
      act(run, async (options: ConnectOptions & OutputOptions, context) =>
        (await import("./history.ts")).history(options, context),
      ),
    )

/** What says which datastore is to be read. */
const DATASTORE_FLAGS: readonly FlagName[] = [
  "datastore-endpoint",
  "datastore-cafile",
  "datastore-certfile",
  "datastore-keyfile",
  "encryption-provider-config",
]

function verifyCommand(run: Run): Command {
  const verify = command("verify", {
    summary: "Prove from the stored bytes that all is under the key that writes",
    example: "keyturn secrets-encrypt verify --open",
  })
    .option("--key <NAME>", "Prove that nothing is under this key instead")
    .option("--open", "Decrypt every value; without it what a value says of its key is believed")
    .addOption(outputOption())
  for (const flag of SERVER_FLAGS)
    if (DATASTORE_FLAGS.includes(flag.name)) verify.addOption(serverOption(flag))
  return verify.action(
    act(run, async (options: VerifyOptions, context) =>
      (await import("./verify.ts")).verify(options, context),
    ),
  )
}

const planCommand = (run: Run): Command =>
  command("plan", {
    summary: "Print what a verb would do, and whether it would be taken; it changes nothing",
    example: "keyturn secrets-encrypt plan rotate-keys",
  })
    .argument("[verb]", `One of ${VERBS.join(", ")}`, "rotate-keys")
    .addOption(outputOption())
    .action((verb: string, _own, plan: Command) =>
      run(async (context) =>
        (await import("./plan.ts")).plan(verb, plan.optsWithGlobals(), context),
      ),
    )

const outputOption = (...more: readonly string[]): Option =>
  choice("-o, --output <FORMAT>", "Form of the output", ["text", "json", ...more]).default("text")

function verbCommand(verb: Verb, run: Run): Command {
  const { summary, flags, finished } = VERB_COMMANDS[verb]
  const made = command(verb, { summary, example: `keyturn secrets-encrypt ${verb}` })
  if (flags.includes("force")) {
    const skips = "skip the order of the stages and the comparison of hashes"
    made.option("-f, --force", `Force this stage: ${skips}`)
  }
  if (flags.includes("skip")) made.option("--skip", "Skip removing old key")
  if (flags.includes("vacuum"))
    made.option(
      "--vacuum",
      "Write SQLite's file afresh at the end, for one that was written without secure_delete",
    )
  if (finished !== null) {
    made.option("--wait", "Wait until all stored values are rewritten")
    made.option("--no-wait", "Return as soon as the server has begun")
  }
  return made.action(
    act(run, async (options: VerbOptions, context) =>
      (await import("./verbs.ts")).runVerb(verb, options, context),
    ),
  )
}

function tokenCommand(run: Run): Command {
  const rotate = command("rotate", {
    summary: "Replace the token: from now on the old one opens older backups only",
    example: "keyturn token rotate --new-token-file /root/new-token",
  })
    .option(
      "--new-token <TOKEN>",
      "The new one. The process list shows it: better --new-token-file",
    )
    .option(
      "--new-token-file <FILE>",
      "File that holds the new one; without it a random one is made",
    )
    .action(
      act(run, async (options: TokenOptions, context) =>
        (await import("./token.ts")).rotateToken(options, context),
      ),
    )
  return connected("token", {
    summary: "Manage the token, the servers' shared secret",
    example: "keyturn token rotate",
  }).addCommand(rotate)
}

function recoveryKeyCommand(run: Run): Command {
  const create = command("create", {
    summary: "Make a recovery key and print it, this one time",
    example: "keyturn recovery-key create > /media/usb/keyturn-recovery-key",
  }).action(
    act(run, async (options: ConnectOptions, context) =>
      (await import("./recovery-key.ts")).createRecoveryKey(options, context),
    ),
  )
  const list = command("list", {
    summary: "List the recovery keys that open the keyring, without the keys themselves",
    example: "keyturn recovery-key list",
  })
    .addOption(outputOption())
    .action(
      act(run, async (options: ConnectOptions & OutputOptions, context) =>
        (await import("./recovery-key.ts")).listRecoveryKeys(options, context),
      ),
    )
  const revoke = command("revoke", {
    summary: "Take a recovery key away: from now on it opens older backups only",
    example: "keyturn recovery-key revoke 3f0c9a52-6d1e-4b7a-9c58-2e4f8a1b7d60",
  })
    .argument("<id>", "As recovery-key list shows it")
    .action((id: string, _own, revoke: Command) =>
      run(async (context) =>
        (await import("./recovery-key.ts")).revokeRecoveryKey(
          id,
          revoke.optsWithGlobals(),
          context,
        ),
      ),
    )
  const words = {
    summary: "Manage recovery keys, which open the keyring when the token is lost",
    example: "keyturn recovery-key create",
  }
  return connected("recovery-key", words).addCommand(create).addCommand(list).addCommand(revoke)
}

function snapshotCommand(run: Run): Command {
  const example = "keyturn snapshot save --name before-upgrade"
  const save = command("save", { summary: "Copy the datastore of a running server", example })
    .option("--name <NAME>", "Begins the copy's name; node and time follow", "on-demand")
    .action(
      act(run, async (options: SaveOptions, context) =>
        (await import("./snapshot.ts")).saveSnapshot(options, context),
      ),
    )
  const list = command("list", {
    summary: "List the copies in the data directory",
    example: "keyturn snapshot list",
  })
    .addOption(outputOption())
    .action(
      act(run, async (options: ConnectOptions & OutputOptions, context) =>
        (await import("./snapshot.ts")).listSnapshots(options, context),
      ),
    )
  const restore = command("restore", {
    summary: "Put a copy in the datastore's place while the server is stopped",
    example: "keyturn snapshot restore before-upgrade-node1-1795500000",
  })
    .argument("<snapshot>", "Its name, or the path of a file")
    .option("--token-file <FILE>", "File that holds the token of that time")
    .option("--recovery-key-file <FILE>", "File with a recovery key of that time")
    .action((snapshot: string, _own, restore: Command) =>
      run(async (context) =>
        (await import("./snapshot.ts")).restore(snapshot, restore.optsWithGlobals(), context),
      ),
    )
  const words = { summary: "Save and restore the embedded datastore", example }
  return connected("snapshot", words).addCommand(save).addCommand(list).addCommand(restore)
}

/** The shell is checked where it is used: commander's own message would repeat the word. */
function completionCommand(print: (shell: string) => Promise<void>): Command {
  const shell = new Argument("<shell>").choices(SHELLS).argParser((text: string) => text)
  return command("completion", {
    summary: "Print the completion script of a shell",
    example: "source <(keyturn completion bash)",
  })
    .addArgument(shell)
    .action(print)
}

interface Words {
  readonly summary: string
  readonly example: string
}

/** Runs `task` with the flags of the command and of its group. */
const act =
  <T extends ConnectOptions>(run: Run, task: (options: T, context: Context) => Promise<void>) =>
  (_own: unknown, command: Command) =>
    run((context) => task(command.optsWithGlobals<T>(), context))

/** A group of commands of a running server: their common flags stand before or after the command. */
const connected = (name: string, words: Words): Command =>
  command(name, words)
    .option(
      "-d, --data-dir <DIR>",
      "The server's --data-dir, where its address and token are found",
    )
    .option("-s, --server <URL>", "The server's address (KEYTURN_URL)")
    .option("-t, --token <TOKEN>", "The server's token (KEYTURN_TOKEN)")

const command = (name: string, { summary, example }: Words): Command =>
  new Command(name)
    .description(summary)
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    .helpOption("-h, --help", "Print this help")
    .addHelpText("after", `\nExample:\n  ${example}`)
