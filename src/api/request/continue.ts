/** The token with which a list goes on: Kubernetes' own form, so that a client cannot tell the two apart. It is
 *  base64url(JSON {v, rv, start}), `start` being the last key and a NUL, relative to where the list began. */

import { posix } from "node:path"
import { isRecord } from "../../format/schema.ts"
import { GoJsonError, parseGoJson } from "../text/go-json.ts"
import { goJson, scalarText } from "../text/go-text.ts"
import { badRequest, expired, type StatusError } from "../status.ts"

const VERSION = "meta.k8s.io/v1"

/** `rv` of a token that goes on at whatever the newest revision is: the list as a whole is then not consistent. */
export const INCONSISTENT = -1

export interface Continuation {
  /** Keys above this one are still to come. */
  readonly after: string
  /** Below 0, as {@link INCONSISTENT}: the newest. */
  readonly revision: number
}

/** `prefix` is that of the list, with its slash at the end, and begins `lastKey`. */
export function encodeContinue(last: {
  readonly prefix: string
  readonly lastKey: string
  readonly revision: number
}): string {
  const start = `/${last.lastKey.slice(last.prefix.length)}\0`
  return token(last.revision, start)
}

const token = (rv: number, start: string): string =>
  Buffer.from(goJson({ v: VERSION, rv, start })).toString("base64url")

const invalid = (why: string): StatusError =>
  badRequest(`invalid continue token: continue key is not valid: ${why}`)

/** Throws 400 where the token is not one of ours. */
export function decodeContinue(prefix: string, text: string): Continuation {
  const { rv, start } = readToken(text)
  const path = start.startsWith("/") ? start : `/${start}`
  // A cleaned path cannot climb out of the prefix.
  if (posix.normalize(path) !== path) throw invalid(start)
  return { after: prefix + path.slice(1).replace(/\0$/, ""), revision: rv }
}

function readToken(text: string): { rv: number; start: string } {
  const { v, rv, start } = parseToken(text)
  if (v !== VERSION)
    throw badRequest(
      "invalid continue token: continue key is not valid: " +
        `server does not recognize this encoded version ${scalarText(v)}`,
    )
  if (typeof rv !== "number" || rv === 0 || !Number.isSafeInteger(rv))
    throw invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
  if (typeof start !== "string" || start === "")
    throw invalid("encoded start key empty (version meta.k8s.io/v1)")
  return { rv, start }
}

function parseToken(text: string): Record<string, unknown> {
  const illegal = text.search(/[^A-Za-z0-9_-]/)
  const bad = illegal < 0 && text.length % 4 === 1 ? text.length - 1 : illegal
  if (bad >= 0) throw invalid(`illegal base64 data at input byte ${bad}`)
  try {
    const { value } = parseGoJson(Buffer.from(text, "base64url").toString())
    return isRecord(value) ? value : {}
  } catch (error) {
    if (error instanceof GoJsonError) throw invalid(error.message)
    throw error
  }
}

/** 410: the token's revision has been compacted. The answer holds a token that goes on inconsistently. */
export function expiredContinue(prefix: string, text: string): StatusError {
  const { after } = decodeContinue(prefix, text)
  return expired(
    "The provided continue parameter is too old to display a consistent list result. You can start " +
      "a new list without the continue parameter, or use the continue token in this response to " +
      "retrieve the remainder of the results. Continuing with the provided token results in an " +
      "inconsistent list - objects that were created, modified, or deleted between the time the " +
      "first chunk was returned and now may show up in the list.",
    { continueToken: token(INCONSISTENT, `${after.slice(prefix.length)}\0`) },
  )
}
