/** The recorded conversations between kubectl, or a plain client, and kube-apiserver. */

import { readdirSync, readFileSync } from "node:fs"
import { sharedPath } from "./shared.ts"

export interface Exchange {
  readonly method: string
  readonly url: string
  readonly reqHeaders: Readonly<Record<string, string>>
  readonly reqBody: string | { readonly base64: string } | { readonly omitted: string }
  readonly status: number
  readonly respHeaders: Readonly<Record<string, string>>
  readonly respBody: string | { readonly base64: string } | { readonly omitted: string }
}

export interface Transcript {
  /** Without `.json`. */
  readonly name: string
  readonly argv?: readonly string[]
  readonly stdin?: string
  readonly exit?: number
  readonly stdout?: string
  readonly stderr?: string
  readonly http: readonly Exchange[]
}

let all: readonly Transcript[] | undefined

/** In the order of their numbers. */
export function transcripts(): readonly Transcript[] {
  all ??= readdirSync(sharedPath("transcripts"))
    .filter((file) => file.endsWith(".json"))
    .toSorted()
    .map((file) => ({
      name: file.slice(0, -".json".length),
      ...JSON.parse(readFileSync(sharedPath("transcripts", file), "utf8")),
    }))
  return all
}

/** The transcript whose name begins with `number`. */
export function transcript(number: string): Transcript {
  const found = transcripts().find(({ name }) => name.startsWith(number))
  if (found === undefined) throw new Error(`no transcript ${number}`)
  return found
}

/** An exchange's body as text; throws where it was binary or too long to be recorded. */
export function textOf(body: Exchange["reqBody"]): string {
  if (typeof body !== "string") throw new Error(`not recorded as text: ${JSON.stringify(body)}`)
  return body
}

/** A body as bytes; throws where it was too long to be recorded. */
export function bytesOf(body: Exchange["reqBody"]): Buffer {
  if (typeof body === "string") return Buffer.from(body)
  if ("base64" in body) return Buffer.from(body.base64, "base64")
  throw new Error(`not recorded: ${body.omitted}`)
}
