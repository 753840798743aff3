/** What a verb does to the keyring, as a pure function of what was observed. One call is one step: the keyring, the fence and
 *  the operation that come out are committed together or not at all, and asking again afterwards changes nothing. */
import { bug, KnownError } from "../errors.ts"
import {
  type Key,
  type Keyring,
  ledBackTo,
  preparedKey,
  STAGES,
  type Stage,
  type WayBack,
  withKey,
  writingKey,
} from "../keyring/keyring.ts"
import {
  describeOperation,
  isRunning,
  type Operation,
  type OperationKind,
  type Verb,
} from "./operation.ts"

export interface VerbRow {
  /** The stages a verb may be taken at; the other order is what --force skips. */
  readonly from: readonly Stage[]
  /** The stages at which it was taken already: it succeeds and changes nothing. */
  readonly own: readonly Stage[]
  readonly to: Stage | "stays" | "as it was before"
  readonly because: string
}

// biome-ignore format: a table; docs/stages.md is printed from it
export const VERB_TABLE = {
  // verb           taken at                                repeated at                                    leads to                    because
  "prepare":     { from: ["start", "reencrypt_finished"], own: ["prepare"],                                to: "prepare",              because: "I1: the new key is durable before it writes" },
  "rotate":      { from: ["prepare"],                     own: ["rotate"],                                 to: "rotate",               because: "I2: the fence moves with the writing key; from here no commit is under the old one" },
  "reencrypt":   { from: ["rotate", "reencrypt_active"],  own: ["reencrypt_finished"],                     to: "reencrypt_active",     because: "I5: rows change in place, nothing is lost; I4: a key leaves after the last byte under it" },
  "rotate-keys": { from: ["start", "reencrypt_finished"], own: [],                                         to: "reencrypt_active",     because: "the three steps above in one commit" },
  "enable":      { from: STAGES,                          own: [],                                         to: "stays",                because: "the writer changes from identity to a key, and the fence with it" },
  "disable":     { from: STAGES,                          own: [],                                         to: "stays",                because: "the writer changes to identity; every key stays" },
  "abort":       { from: ["prepare", "rotate", "reencrypt_active"], own: [],                               to: "as it was before",     because: "I2: the key of before writes again, and the fence moves with it; I4: the other one reads until a proof retires it" },
} as const satisfies Record<Verb, VerbRow>

export interface Request {
  readonly verb: Verb
  /** Skips the order of the stages and the comparison of hashes, nothing else. */
  readonly force: boolean
  /** For reencrypt: rewrite, but retire no key; the stage stays. */
  readonly skip: boolean
  /** Of what rewrites: write SQLite's file afresh at its end. Such a reencrypt has something to do at the end of a rotation too. */
  readonly vacuum?: boolean
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

/** Throws RotationUnderWay, WrongStage, HashMismatch, EncryptionDisabled: nothing is changed then. */
export function decide(request: Request, seen: Situation): Decision {
  const { verb, force } = request
  if (isDone(request, seen)) return { outcome: "nothing" }
  if (isRunning(seen.operation) && seen.operation.retires && verb !== "abort")
    throw new KnownError("RotationUnderWay", describeOperation(seen.operation))
  if (verb === "enable" || verb === "disable") return STEPS[verb](seen)
  if (seen.keyring.intent !== "encrypted" && !(verb === "reencrypt" && force))
    throw new KnownError("EncryptionDisabled", `${verb} needs encryption to be enabled`)
  if (verb === "abort") return abort(seen)
  if (request.replaces !== undefined && seen.keyring.wayBack === "gone")
    throw new KnownError(
      "WrongStage",
      "the last rotation was aborted: the next is for somebody to begin",
    )
  if (!force) inOrder(request, seen)
  return verb === "reencrypt" ? reencrypt(seen, request.skip) : STEPS[verb](seen)
}

function isDone(request: Request, { keyring, operation }: Situation): boolean {
  const { verb, force, skip, vacuum, replaces } = request
  if (replaces !== undefined && writingKey(keyring)?.name !== replaces) return true
  if (verb === "enable") return keyring.intent === "encrypted"
  if (verb === "disable") return keyring.intent !== "encrypted"
  if (verb === "abort") return keyring.wayBack === "gone"
  const own: readonly Stage[] = VERB_TABLE[verb].own
  if (verb === "reencrypt") {
    if (force || skip || vacuum) return false
    // At `reencrypt_active` the rewrite runs, or its record was lost and this verb begins it again.
    if (isRunning(operation) && operation.retires) return true
    // An abort leads back to `reencrypt_finished` too, and leaves values under the other key.
    if (keyring.wayBack === "gone") return false
  }
  return keyring.intent === "encrypted" && own.includes(keyring.stage)
}

function inOrder({ verb, vacuum }: Request, { keyring, mismatch }: Situation): void {
  if (mismatch !== undefined) throw new KnownError("HashMismatch", mismatch)
  const { from, own }: VerbRow = VERB_TABLE[verb]
  if (!from.includes(keyring.stage) && !(vacuum && own.includes(keyring.stage)))
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
      keyring: { ...keyring, intent: "plain", proven: null },
      movesFence: true,
      target: null,
      starts: { kind: "disable", retires: false },
    }
  },

  prepare(seen: Situation): Decision {
    const { keyring, freshKey } = seen
    if (freshKey === undefined) return { outcome: "wait" }
    return {
      outcome: "step",
      keyring: { ...withKey(keyring, freshKey), stage: "prepare", wayBack: wayBackFrom(seen) },
      movesFence: false,
      target: freshKey.name,
      starts: undefined,
    }
  },

  rotate(seen: Situation): Decision {
    const { keyring, operation } = seen
    const target = preparedKey(keyring)?.name
    if (target === undefined)
      throw new KnownError("WrongStage", "there is no prepared key to rotate to")
    return {
      outcome: "step",
      keyring: { ...keyring, writer: target, stage: "rotate", wayBack: wayBackFrom(seen) },
      movesFence: true,
      target,
      // A rewrite that ran under the old fence goes on under the new one, to the new key.
      starts: isRunning(operation) ? { kind: operation.kind, retires: false } : undefined,
    }
  },

  "rotate-keys"(seen: Situation): Decision {
    const { keyring, freshKey } = seen
    if (freshKey === undefined) return { outcome: "wait" }
    return {
      outcome: "step",
      keyring: {
        ...withKey(keyring, freshKey),
        writer: freshKey.name,
        stage: "reencrypt_active",
        wayBack: wayBackFrom(seen),
      },
      movesFence: true,
      target: freshKey.name,
      starts: { kind: "rotate-keys", retires: true },
    }
  },
} as const

const enabled = ({ wayBack, ...keyring }: Keyring, writer: string): Decision => ({
  outcome: "step",
  keyring: {
    ...keyring,
    writer,
    intent: "encrypted",
    proven: null,
    wayBack: isWayBack(wayBack) ? { ...wayBack, rewrites: true } : wayBack,
  },
  movesFence: true,
  target: writer,
  starts: { kind: "enable", retires: false },
})

const isWayBack = (wayBack: Keyring["wayBack"]): wayBack is WayBack =>
  wayBack !== null && wayBack !== "gone"

/** All that was begun since the last retirement is one rotation, and leads back to where its first step was taken. */
function wayBackFrom({ keyring, operation }: Situation): WayBack {
  const { wayBack, writer, stage } = keyring
  if (isWayBack(wayBack)) return wayBack
  const begins: readonly Stage[] = VERB_TABLE["rotate-keys"].from
  return {
    writer: writer ?? bug("encryption without a key that writes"),
    // At another stage K3s began it, and nobody knows from which.
    stage: begins.includes(stage) ? stage : "start",
    rewrites: isRunning(operation),
  }
}

/** The key of before leads again. What lies under the other one stays so until the next rotation. */
function abort(seen: Situation): Decision {
  const { wayBack } = seen.keyring
  if (!isWayBack(wayBack)) throw nothingToAbort(seen)
  const { writer, stage, rewrites } = wayBack
  const movesFence = writer !== seen.keyring.writer
  return {
    outcome: "step",
    keyring: { ...ledBackTo(seen.keyring, writer), stage, wayBack: "gone" },
    movesFence,
    target: writer,
    // Plain text that a rewrite of before would have come to may be left.
    starts: movesFence && rewrites ? { kind: "reencrypt", retires: false } : undefined,
  }
}

function nothingToAbort({ keyring, operation }: Situation): KnownError {
  const runs = isRunning(operation) && operation.kind === "enable"
  const other = runs ? "; what runs is enable, and disable takes that back" : ""
  const seen = `there is nothing to abort: no rotation is under way, and the stage is ${keyring.stage}`
  return new KnownError("WrongStage", `${seen}${other}`)
}

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
