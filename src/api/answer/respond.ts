/** From an answer to bytes on the wire, in the form that the client asked for. */

import type { KubeObject } from "../../format/object.ts"
import type { Document } from "../kinds/discovery.ts"
import { type Conversion, JSON_TYPE, type Representation } from "../request/negotiate.ts"
import { includeObject } from "../request/options.ts"
import { apiVersionOf, type Resource } from "../kinds/resources.ts"
import { serialize } from "./serialize.ts"
import type { StatusError } from "../status.ts"
import { type ListMeta, toPartial, toPartialList, toTable } from "./table.ts"

/** Kubernetes lists of any kind; its items bear no kind of their own. */
export interface ObjectList {
  readonly kind: string
  readonly apiVersion: string
  readonly metadata: ListMeta
  readonly items: readonly object[]
}

/** `object`: a Kubernetes object, a list or a Status. */
export interface Answer {
  readonly code: number
  readonly object: { readonly kind: string; readonly apiVersion: string }
  readonly warnings?: readonly string[]
  /** The registry keeps the object, and it is answered again as long as it does not change. */
  readonly isKept?: true
}

type Headers = Record<string, string | number | string[]>

/** What node's two kinds of responses, of HTTP/1.1 and of HTTP/2, agree on. */
export interface ApiResponse {
  readonly statusCode: number
  readonly headersSent: boolean
  readonly destroyed?: boolean
  writeHead(code: number, headers: Headers): unknown
  /** HTTP/2 sends them at once. */
  flushHeaders?(): void
  write(chunk: Uint8Array): boolean
  end(body?: string | Uint8Array): unknown
  destroy(): unknown
  once(event: "close" | "drain", listener: () => void): unknown
  off(event: "close" | "drain", listener: () => void): unknown
}

/** Aborts when the response has ended, or its client has gone. To be asked for before anything is waited for: it happens once. */
export function closing(response: ApiResponse, reason?: Error): AbortSignal {
  const closed = new AbortController()
  response.once("close", () => closed.abort(reason))
  return closed.signal
}

export const PLAIN_JSON: Representation = {
  mediaType: JSON_TYPE,
  conversion: undefined,
  pretty: false,
}

/** As long as Kubernetes lets a request take. */
const READ_MS_MAX = 60_000

/** A client that does not read in time loses what it was sent, and the connection (HTTP/1.1) or the stream: what is unread is
 *  memory, and an answer one of the requests that run at once. Returns the word that it was read; the end is one too. */
export function cutUnlessRead(response: ApiResponse): () => void {
  const cut = setTimeout(() => response.destroy(), READ_MS_MAX).unref()
  const read = () => clearTimeout(cut)
  response.once("close", read)
  return () => {
    read()
    response.off("close", read)
  }
}

export function send(
  response: ApiResponse,
  of: { code: number; contentType: string; body: string | Uint8Array; headers?: Headers },
): void {
  const { code, contentType, body, headers } = of
  if (response.destroyed || response.headersSent) return
  cutUnlessRead(response)
  response.writeHead(code, {
    "cache-control": "no-cache, private",
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
    ...headers,
  })
  response.end(body)
}

export function sendText(response: ApiResponse, code: number, body: string): void {
  const headers = { "x-content-type-options": "nosniff" }
  send(response, { code, contentType: "text/plain; charset=utf-8", body, headers })
}

export function sendDocument(response: ApiResponse, { contentType, body, etag }: Document): void {
  send(response, { code: 200, contentType, body, headers: { etag, vary: "Accept" } })
}

export function sendNotModified(response: ApiResponse, { etag }: Document): void {
  response.writeHead(304, { etag, vary: "Accept", "cache-control": "no-cache, private" })
  response.end()
}

export function sendAnswer(response: ApiResponse, answer: Answer, as: Representation): void {
  const { code, object, warnings = [], isKept } = answer
  const told = warningHeaders(warnings)
  const body = isKept ? serializedOnce(object, as) : serialize(object, as)
  if (told.length === 0) return send(response, { code, contentType: as.mediaType, body })
  const headers = { warning: told }
  // With a body that is text, node would write the bytes of the headers as UTF-8 once more.
  send(response, { code, contentType: as.mediaType, body: Buffer.from(body), headers })
}

/** Objects that are read again and again, as JSON. */
const written = new WeakMap<object, string>()

function serializedOnce(object: Answer["object"], as: Representation): string | Uint8Array {
  if (as.mediaType !== JSON_TYPE || as.pretty) return serialize(object, as)
  const known = written.get(object)
  if (known !== undefined) return known
  const json = serialize(object, as)
  if (typeof json === "string") written.set(object, json)
  return json
}

/** In the client's media type too, but never as a Table. */
export function sendStatus(
  response: ApiResponse,
  error: StatusError,
  as: Pick<Representation, "mediaType"> = PLAIN_JSON,
): void {
  const seconds = error.details?.retryAfterSeconds
  const headers = seconds === undefined ? {} : { "retry-after": seconds }
  const body = serialize(error.toStatus(), { ...PLAIN_JSON, mediaType: as.mediaType })
  send(response, { code: error.code, contentType: as.mediaType, body, headers })
}

interface Converting {
  readonly resource: Resource
  readonly query: URLSearchParams
  readonly now: Date
}

/** The object, or the Table or bare metadata that the client wants of it. A Status stays one. */
export function converted(
  object: Answer["object"],
  conversion: Conversion | undefined,
  of: Converting,
): Answer["object"] {
  if (conversion === undefined || object.kind === "Status") return object
  const { version, kind } = conversion
  const isList = "items" in object
  const items = (isList ? (object as ObjectList).items : [object]) as readonly KubeObject[]
  const metadata = isList
    ? (object as ObjectList).metadata
    : { resourceVersion: (object as KubeObject).metadata.resourceVersion ?? "" }
  if (kind === "Table") {
    const options = { version, includeObject: includeObject(of.query), now: of.now }
    return toTable(
      of.resource,
      { items: items.map((item) => whole(item, of.resource)), metadata },
      options,
    )
  }
  if (isList) return toPartialList({ items, metadata }, version)
  return toPartial(object as KubeObject, version)
}

/** A list's items bear no kind; alone in a row they do. */
const whole = (item: KubeObject, resource: Resource): KubeObject => ({
  ...item,
  kind: resource.kind,
  apiVersion: apiVersionOf(resource),
})

/** Kubernetes' own limit. A client that gets more in its headers than it takes gets no answer. */
const WARNINGS_BYTES_MAX = 4 * 1024

function warningHeaders(warnings: readonly string[]): string[] {
  let sizeBytes = 0
  const headers = warnings.map(warningHeader)
  return headers.filter((header) => (sizeBytes += header.length) <= WARNINGS_BYTES_MAX)
}

/** The value of a Warning header for one text (RFC 7234 §5.5): one character for each byte of UTF-8, as node takes it. */
export const warningHeader = (text: string): string =>
  Buffer.from(`299 - "${text.replace(/["\\]/g, (char) => `\\${char}`)}"`).toString("latin1")
