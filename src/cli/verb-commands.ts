/** The verbs of `keyturn secrets-encrypt` that change something: what they ask of the server, and K3s' words for it all. */
import { K3S_STAGES, type Verb } from "../rotation/operation.ts"

/** K3s' request body: `stage` wins over `enable`. */
export interface VerbRequest {
  readonly stage?: string
  readonly enable?: boolean
  readonly force?: boolean
  readonly skip?: boolean
  readonly vacuum?: boolean
}

export interface VerbCommand {
  readonly summary: string
  /** Flags of its own, beside --wait and --no-wait of the verbs that have an end to wait for. */
  readonly flags: readonly ("force" | "skip" | "vacuum")[]
  /** Printed when the server has taken the verb. */
  readonly taken: string
  /** Printed at the end of the rewrite that it starts, where the command waits for it; null: it starts none. */
  readonly finished: string | null
  /** Whether the command waits unless told otherwise. It then prints `finished` alone, as K3s does. */
  readonly waits: boolean
}

/** The part of the body that says which verb it is. */
export function bodyOf(verb: Verb): VerbRequest {
  const [stage] = Object.entries(K3S_STAGES).find(([, named]) => named === verb) ?? []
  return stage === undefined ? { enable: verb === "enable" } : { stage }
}

const REWRITTEN = "reencryption finished"

export const VERB_COMMANDS: { readonly [verb in Verb]: VerbCommand } = {
  enable: {
    summary: "Enable secrets encryption",
    flags: [],
    taken: "secrets-encryption enabled",
    finished: REWRITTEN,
    waits: false,
  },
  disable: {
    summary: "Disable secrets encryption",
    flags: [],
    taken: "secrets-encryption disabled",
    finished: REWRITTEN,
    waits: false,
  },
  prepare: {
    summary: "Prepare for encryption keys rotation",
    flags: ["force"],
    taken: "prepare completed successfully",
    finished: null,
    waits: false,
  },
  rotate: {
    summary: "Rotate secrets encryption keys",
    flags: ["force"],
    taken: "rotate completed successfully",
    finished: null,
    waits: false,
  },
  reencrypt: {
    summary: "Reencrypt all data with new encryption key",
    flags: ["force", "skip", "vacuum"],
    taken: "reencryption started",
    finished: REWRITTEN,
    waits: false,
  },
  "rotate-keys": {
    summary: "Rotate secrets encryption keys and reencrypt all data, in one go",
    flags: ["vacuum"],
    taken: "keys rotated, reencryption started",
    finished: "keys rotated, reencryption finished",
    waits: true,
  },
  abort: {
    summary: "Go back to the key that wrote before a rotation that has not retired it yet",
    flags: [],
    taken: "rotation aborted",
    finished: null,
    waits: false,
  },
}
