/** What etcd's refusals mean (api/v3rpc/rpctypes/error.go of etcd 3.4 to 3.6; the codes are gRPC's). */
import { KnownError } from "../errors.ts"
import { AnswerLost, NotDone } from "./lost-answer.ts"

const CANCELED = 1
const UNKNOWN = 2
const INVALID_ARGUMENT = 3
const DEADLINE_EXCEEDED = 4
const NOT_FOUND = 5
const PERMISSION_DENIED = 7
const RESOURCE_EXHAUSTED = 8
const FAILED_PRECONDITION = 9
const OUT_OF_RANGE = 11
const UNIMPLEMENTED = 12
const INTERNAL = 13
const UNAVAILABLE = 14
const UNAUTHENTICATED = 16

/** The revision asked for was compacted; etcd does not say up to where. */
export class WasCompacted extends Error {}
/** The revision asked for is not reached. */
export class IsFuture extends Error {}
/** The lease of a put is gone: nothing was written. */
export class LeaseGone extends Error {}

/** The member took the request in and has no answer in time: it may be the one that cannot, of several. */
export class NoAnswer extends AnswerLost {}

/** `where`: which member, for messages. */
export function etcdError(status: { code: number; message: string }, where: string): Error {
  const { code, message } = status
  const seen = `${where}: ${message || `gRPC status ${code}`}`
  switch (code) {
    case OUT_OF_RANGE:
      if (message.includes("compacted")) return new WasCompacted(seen)
      if (message.includes("future")) return new IsFuture(seen)
      return unforeseen(seen)
    case NOT_FOUND:
      if (message.includes("lease not found")) return new LeaseGone(seen)
      return message.includes("member not found")
        ? new KnownError("NotFound", seen)
        : unforeseen(seen)
    case INVALID_ARGUMENT:
      if (message.includes("too large")) return new KnownError("ObjectInvalid", seen)
      if (message.includes("user name is empty")) return new KnownError("StoreRefused", seen)
      return unforeseen(seen)
    case RESOURCE_EXHAUSTED:
      if (message.includes("send message larger than max")) return new AnswerLost(seen)
      if (message.includes("larger than max")) return new KnownError("ObjectInvalid", seen)
      if (message.includes("space exceeded")) return new KnownError("DiskFull", seen)
      return new NotDone(seen)
    case UNAVAILABLE:
      // A member that knows no leader takes nothing; every other time-out may come after the proposal.
      return message.includes("no leader")
        ? new NotDone(`${seen}: more than half of its members must run`)
        : new NoAnswer(seen)
    case DEADLINE_EXCEEDED:
      return new NoAnswer(seen)
    case CANCELED:
    case UNKNOWN:
    case INTERNAL:
      return new AnswerLost(seen)
    case PERMISSION_DENIED:
    case UNAUTHENTICATED:
      return new KnownError("StoreRefused", seen)
    case FAILED_PRECONDITION:
    case UNIMPLEMENTED:
      return new KnownError("StoreUnavailable", seen)
    default:
      return unforeseen(`${seen} (gRPC status ${code})`)
  }
}

/** Returned, for whoever reads the status must not be the one who throws. */
const unforeseen = (seen: string): Error => new Error(`bug: ${seen}`)
