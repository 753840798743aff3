/** The recorded conversations, read from the folder of transcripts. */

import { readdirSync, readFileSync } from "node:fs"
import { decodeObject } from "../../src/format/codec.ts"
import { sharedPath } from "../shared.ts"

/** A body too long to be kept, or one that is no text. */
export type RecordedBody = string | { readonly base64: string } | { readonly omitted: string }

export interface Exchange {
  readonly method: string
  readonly url: string
  readonly reqHeaders: Readonly<Record<string, string>>
  readonly reqBody?: RecordedBody
  readonly status: number
  readonly respHeaders: Readonly<Record<string, string>>
  readonly respBody: RecordedBody
}

export interface Recording {
  /** The file without `.json`. */
  readonly name: string
  readonly http: readonly Exchange[]
}

export function readRecordings(): Recording[] {
  return readdirSync(sharedPath("transcripts"))
    .filter((file) => /^\d+-.*\.json$/.test(file))
    .toSorted()
    .map((file) => {
      const { http } = JSON.parse(readFileSync(sharedPath("transcripts", file), "utf8"))
      return { name: file.replace(".json", ""), http }
    })
}

export const bytesOf = (body: RecordedBody | undefined): Buffer | undefined => {
  if (body === undefined || body === "") return undefined
  if (typeof body === "string") return Buffer.from(body)
  return "base64" in body ? Buffer.from(body.base64, "base64") : undefined
}

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }
export type JsonObject = { [name: string]: Json }

/** What a body says: an object of protobuf or JSON, events of a watch as an array, or text as it is. */
export function readBody(bytes: Buffer, contentType: string): Json {
  if (contentType.startsWith("application/vnd.kubernetes.protobuf"))
    return decodeObject(bytes) as unknown as Json
  const text = bytes.toString()
  if (!contentType.startsWith("application/json")) return text
  if (text.startsWith('{"type":')) {
    const lines = text.split("\n").filter((line) => line !== "")
    return lines.map((line) => JSON.parse(line))
  }
  return text === "" ? "" : JSON.parse(text)
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)
