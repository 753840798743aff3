/** What a verb does to the keyring, as a pure function of what was observed. One call is one step: the keyring, the fence and
 *  the operation that come out are committed together or not at all, and asking again afterwards changes nothing. */
import { KnownError } from "../errors.ts"
import {
  inactiveKeys,
  type Key,
  type Keyring,
  STAGES,
  type Stage,
  withKey,
  writingKey,
} from "../keyring/keyring.ts"
import { describeOperation, type Operation, type OperationKind, type Verb } from "./operation.ts"

export interface VerbRow {
  /** The stages a verb may be taken at; the other order is what --force skips. */
  readonly from: readonly Stage[]
  /** The stages at which it was taken already: it succeeds and changes nothing. */
  readonly own: readonly Stage[]
  /** The stage it leads to; null: it stays. */
  readonly to: Stage | null
  readonly because: string
}

// biome-ignore format: a table; docs/stages.md is printed from it
export const VERB_TABLE = {
  // verb           taken at                                repeated at                                    leads to                    because
  "prepare":     { from: ["start", "reencrypt_finished"], own: ["prepare"],                                to: "prepare",              because: "I1: the new key is durable before it writes" },
  "rotate":      { from: ["prepare"],                     own: ["rotate"],                                 to: "rotate",               because: "I2: the fence moves with the writing key; from here no commit is under the old one" },
  "reencrypt":   { from: ["rotate", "reencrypt_active"],  own: ["reencrypt_finished"],                     to: "reencrypt_active",     because: "I5: rows change in place, nothing is lost; I4: a key leaves after the last byte under it" },
  "rotate-keys": { from: ["start", "reencrypt_finished"], own: [],                                         to: "reencrypt_active",     because: "the three steps above in one commit" },
  "enable":      { from: STAGES,                          own: [],                                         to: null,                   because: "the writer changes from identity to a key, and the fence with it" },
  "disable":     { from: STAGES,                          own: [],                                         to: null,                   because: "the writer changes to identity; every key stays" },
} as const satisfies Record<Verb, VerbRow>

export interface Request {
  readonly verb: Verb
  /** Skips the order of the stages and the comparison of hashes, nothing else. */
  readonly force: boolean
  /** For reencrypt: rewrite, but retire no key; the stage stays. */
  readonly skip: boolean
  /** Only while this key writes: of several servers that find it due one turns it. */
  readonly replaces?: string
}

export interface Situation {
  readonly keyring: Keyring
  /** The operation record as it stands, running or ended. */
  readonly operation: Operation | undefined
  /** A key that may be added; undefined where its name is taken for this second. */
  readonly freshKey: Key | undefined
  /** Why the servers' hashes do not match; undefined where they do. */
  readonly mismatch: string | undefined
}

export type Decision =
  | { readonly outcome: "nothing" }
  /** A name is taken for this second: ask again in the next. */
  | { readonly outcome: "wait" }
  | {
      readonly outcome: "step"
      readonly keyring: Keyring
      readonly movesFence: boolean
      /** The key that the step is about, null: identity; what it starts rewrites to it. */
      readonly target: string | null
      readonly starts: { kind: OperationKind; retires: boolean } | undefined
    }

export const isRunning = (operation: Operation | undefined): operation is Operation =>
  operation?.state === "running"

/** Throws RotationUnderWay, WrongStage, HashMismatch, EncryptionDisabled: nothing is changed then. */
export function decide(request: Request, seen: Situation): Decision {
  const { verb, force } = request
  if (isDone(request, seen)) return { outcome: "nothing" }
  if (isRunning(seen.operation) && seen.operation.retires)
    throw new KnownError("RotationUnderWay", describeOperation(seen.operation))
  if (verb === "enable" || verb === "disable") return STEPS[verb](seen)
  if (seen.keyring.intent !== "encrypted" && !(verb === "reencrypt" && force))
    throw new KnownError("EncryptionDisabled", `${verb} needs encryption to be enabled`)
  if (!force) inOrder(verb, seen)
  return verb === "reencrypt" ? reencrypt(seen, request.skip) : STEPS[verb](seen)
}

function isDone(request: Request, { keyring, operation }: Situation): boolean {
  const { verb, force, skip, replaces } = request
  if (replaces !== undefined && writingKey(keyring)?.name !== replaces) return true
  if (verb === "enable") return keyring.intent === "encrypted"
  if (verb === "disable") return keyring.intent !== "encrypted"
  const own: readonly Stage[] = VERB_TABLE[verb].own
  if (verb === "reencrypt") {
    if (force || skip) return false
    // At `reencrypt_active` the rewrite runs, or its record was lost and this verb begins it again.
    if (isRunning(operation) && operation.retires) return true
  }
  return keyring.intent === "encrypted" && own.includes(keyring.stage)
}

function inOrder(verb: Verb, { keyring, mismatch }: Situation): void {
  if (mismatch !== undefined) throw new KnownError("HashMismatch", mismatch)
  const from: readonly Stage[] = VERB_TABLE[verb].from
  if (!from.includes(keyring.stage))
    throw new KnownError(
      "WrongStage",
      `incorrect stage: ${verb} follows ${from.join(" or ")}, and the stage is ${keyring.stage}; next: ${NEXT[keyring.stage]}`,
    )
}

// biome-ignore format: a table
const NEXT: Record<Stage, string> = {
  start:              "keyturn secrets-encrypt rotate-keys (or prepare)",
  prepare:            "keyturn secrets-encrypt rotate",
  rotate:             "keyturn secrets-encrypt reencrypt",
  reencrypt_active:   "keyturn secrets-encrypt reencrypt",
  reencrypt_finished: "keyturn secrets-encrypt rotate-keys (or prepare)",
}

const STEPS = {
  enable({ keyring, freshKey }: Situation): Decision {
    if (keyring.writer !== null) return enabled(keyring, keyring.writer)
    if (freshKey === undefined) return { outcome: "wait" }
    return enabled(withKey(keyring, freshKey), freshKey.name)
  },

  disable({ keyring }: Situation): Decision {
    return {
      outcome: "step",
      keyring: { ...keyring, intent: "plain" },
      movesFence: true,
      target: null,
      starts: { kind: "disable", retires: false },
    }
  },

  prepare({ keyring, freshKey }: Situation): Decision {
    if (freshKey === undefined) return { outcome: "wait" }
    return {
      outcome: "step",
      keyring: { ...withKey(keyring, freshKey), stage: "prepare" },
      movesFence: false,
      target: freshKey.name,
      starts: undefined,
    }
  },

  rotate({ keyring, operation }: Situation): Decision {
    const target = inactiveKeys(keyring).at(-1)?.name
    if (target === undefined)
      throw new KnownError("WrongStage", "there is no prepared key to rotate to")
    return {
      outcome: "step",
      keyring: { ...keyring, writer: target, stage: "rotate" },
      movesFence: true,
      target,
      // A rewrite that ran under the old fence goes on under the new one, to the new key.
      starts: isRunning(operation) ? { kind: operation.kind, retires: false } : undefined,
    }
  },

  "rotate-keys"({ keyring, freshKey }: Situation): Decision {
    if (freshKey === undefined) return { outcome: "wait" }
    return {
      outcome: "step",
      keyring: {
        ...withKey(keyring, freshKey),
        writer: freshKey.name,
        stage: "reencrypt_active",
      },
      movesFence: true,
      target: freshKey.name,
      starts: { kind: "rotate-keys", retires: true },
    }
  },
} as const

const enabled = (keyring: Keyring, writer: string): Decision => ({
  outcome: "step",
  keyring: { ...keyring, writer, intent: "encrypted" },
  movesFence: true,
  target: writer,
  starts: { kind: "enable", retires: false },
})

/** With identity writing there is no key that could take over, so nothing retires: every key stays for enable. */
function reencrypt({ keyring }: Situation, skip: boolean): Decision {
  const target = writingKey(keyring)?.name ?? null
  const retires = !skip && target !== null
  return {
    outcome: "step",
    keyring: retires ? { ...keyring, stage: "reencrypt_active" } : keyring,
    // A fence of its own ends a rewrite that runs already; rows are then looked at again under this one.
    movesFence: true,
    target,
    starts: { kind: "reencrypt", retires },
  }
}
