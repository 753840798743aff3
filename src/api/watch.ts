/** Watching: what changes, event by event, as long as the client listens. A watcher is a position in the store's log and reads
 *  at the client's pace, so a slow client costs no memory and one that compaction passes is told to list again. An event is
 *  written out once for each form that clients ask for. */

import { randomInt } from "node:crypto"
import { isKnown } from "../errors.ts"
import { encodeObject, encodeWatchEvent } from "../format/codec.ts"
import type { KubeObject } from "../format/object.ts"
import { atRevision, type ObjectEvent } from "../registry/registry.ts"
import type { Answer, Call, Deps } from "./call.ts"
import { statusErrorOf } from "./failures.ts"
import { JSON_TYPE, PROTOBUF_TYPE, type Representation, YAML_TYPE } from "./negotiate.ts"
import { includeObject, type ListOptions, listOptions, revisionOf } from "./options.ts"
import { listSelected, type Selection, selectionOf } from "./read.ts"
import type { ApiResponse } from "./respond.ts"
import { apiVersionOf } from "./resources.ts"
import { expired, notAcceptable } from "./status.ts"
import { toPartial, toTable } from "./table.ts"

export interface WatchDeps extends Deps {
  /** Aborts when the server ends. */
  readonly signal: AbortSignal
}

/** Where the client does not say how long: Kubernetes' own span, so that not all come back at once. */
const TIMEOUT_SECONDS = { min: 1800, max: 3600 } as const
const BOOKMARK_MS = 60_000
const INITIAL_PAGE = 500

type EventType = "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR"

/** Resolves when the watch has ended. Throws StatusError as long as nothing has been sent. */
export async function watch(
  deps: WatchDeps,
  call: Call,
  to: { response: ApiResponse; as: Representation; isWatchPath: boolean },
): Promise<void> {
  const options = listOptions(call.query, { forceWatch: to.isWatchPath })
  const selection = named(call, selectionOf(call.resource, options))
  const writer = makeWriter(deps, call, to.as)
  const first = await firstPage(deps, call, { options, selection })
  const type = { kind: call.resource.kind, apiVersion: apiVersionOf(call.resource) }
  const stream = new Stream(to.response, { writer, options, type, signal: deps.signal })
  try {
    const after = await sendInitial(deps, call, { options, selection, stream, first })
    await sendChanges(deps, call, { after, selection, stream })
  } catch (error) {
    await stream.fail(error)
  } finally {
    stream.end()
  }
}

/** `/api/v1/watch/…/<name>` watches one object. */
const named = ({ name }: Call, selection: Selection): Selection =>
  name === ""
    ? selection
    : {
        empty: false,
        name,
        matches: (object) => object.metadata.name === name && selection.matches(object),
      }

type Asked = { readonly options: ListOptions; readonly selection: Selection }
type Page = Awaited<ReturnType<typeof listSelected>>

/** What is there already; undefined where the watch goes on from a revision, or from now on. */
async function firstPage(
  deps: Deps,
  call: Call,
  { options, selection }: Asked,
): Promise<Page | undefined> {
  const isFromNow = revisionOf(options.resourceVersion) === undefined
  if (!(options.sendInitialEvents ?? isFromNow)) return undefined
  const page = { ...options, limit: INITIAL_PAGE, resourceVersionMatch: "NotOlderThan" } as const
  return listSelected(deps, call, { options: page, selection })
}

/** Returns the revision that changes are to be sent after. */
async function sendInitial(
  deps: Deps,
  call: Call,
  { options, selection, stream, first }: Asked & { stream: Stream; first: Page | undefined },
): Promise<number> {
  if (first === undefined)
    return revisionOf(options.resourceVersion) ?? (await deps.registry.revision())
  for (let page = first; ; ) {
    for (const item of page.items) await stream.send("ADDED", item)
    if (page.continue === undefined || stream.signal.aborted) break
    const next = { ...options, limit: INITIAL_PAGE, continue: page.continue, resourceVersion: "" }
    page = await listSelected(deps, call, { options: next, selection })
  }
  if (options.sendInitialEvents === true) await stream.bookmark(first.revision, INITIAL_END)
  return first.revision
}

const INITIAL_END = { annotations: { "k8s.io/initial-events-end": "true" } }

async function sendChanges(
  { registry }: Deps,
  { resource, namespace }: Call,
  of: { after: number; selection: Selection; stream: Stream },
): Promise<void> {
  const { after, selection, stream } = of
  const { signal } = stream
  const progress = { revision: after }
  const timer = setInterval(() => void stream.bookmark(progress.revision), BOOKMARK_MS)
  try {
    for await (const events of registry.watch(resource, { namespace, after, signal, progress }))
      await stream.forward(events, selection)
  } catch (error) {
    if (!isKnown(error, "Compacted", "SlowWatcher")) throw error
    const oldest = await registry.compactedRevision()
    throw expired(`too old resource version: ${progress.revision} (${oldest})`)
  } finally {
    clearInterval(timer)
  }
}

/** What an event is to somebody who sees only a selection. Undefined: nothing. */
export function seenAs(
  { type, object, previous, revision }: ObjectEvent,
  selection: Selection,
): { type: EventType; object: KubeObject } | undefined {
  const isIn = type !== "delete" && selection.matches(object)
  const wasIn = previous !== undefined && selection.matches(previous)
  if (isIn) return { type: wasIn ? "MODIFIED" : "ADDED", object }
  if (!wasIn) return undefined
  return { type: "DELETED", object: type === "delete" ? object : atRevision(previous, revision) }
}

/** One event in one form. */
type Writer = {
  write(type: EventType, object: Answer["object"]): Buffer
  /** Undefined where the bytes are not the same for every watcher. */
  readonly form: string | undefined
  readonly contentType: string
}

function makeWriter({ now }: Deps, { resource, query }: Call, as: Representation): Writer {
  if (as.mediaType === YAML_TYPE)
    throw notAcceptable([JSON_TYPE, PROTOBUF_TYPE].map((type) => `${type};stream=watch`))
  const { conversion } = as
  const frame = as.mediaType === PROTOBUF_TYPE ? protobufFrame : jsonFrame
  const contentType = as.mediaType === PROTOBUF_TYPE ? `${PROTOBUF_TYPE};stream=watch` : JSON_TYPE
  if (conversion === undefined) return { write: frame, form: as.mediaType, contentType }
  const { version, kind } = conversion
  const include = includeObject(query)
  let withColumns = true
  const asTable = (object: KubeObject) => {
    const metadata = { resourceVersion: object.metadata.resourceVersion ?? "" }
    const options = { version, includeObject: include, now: now(), withColumns }
    withColumns = false
    return toTable(resource, { items: [object], metadata }, options)
  }
  return {
    form: kind === "Table" ? undefined : `${as.mediaType} ${version}`,
    contentType,
    write(type, object) {
      if (type === "ERROR") return frame(type, object)
      const whole = object as KubeObject
      return frame(type, kind === "Table" ? asTable(whole) : toPartial(whole, version))
    },
  }
}

const jsonFrame: Writer["write"] = (type, object) =>
  Buffer.from(`{"type":"${type}","object":${JSON.stringify(object)}}\n`)

/** Length, 4 bytes big-endian, and a WatchEvent. */
const protobufFrame: Writer["write"] = (type, object) => {
  const event = encodeWatchEvent({ type, object: encodeObject(object) })
  const length = Buffer.alloc(4)
  length.writeUInt32BE(event.length)
  return Buffer.concat([length, event])
}

/** Events as written, by form and type. */
const written = new WeakMap<ObjectEvent, Map<string, Buffer>>()

class Stream {
  readonly #response: ApiResponse
  readonly #writer: Writer
  readonly #options: ListOptions
  /** Of the watched objects; a bookmark is an empty one. */
  readonly #type: Answer["object"]
  readonly #stop = new AbortController()
  readonly #timer: NodeJS.Timeout
  /** The client has yet to read what was written. */
  #isFull = false
  readonly signal: AbortSignal

  constructor(
    response: ApiResponse,
    of: { writer: Writer; options: ListOptions; type: Answer["object"]; signal: AbortSignal },
  ) {
    const { writer, options } = of
    this.#type = of.type
    this.#response = response
    this.#writer = writer
    this.#options = options
    this.signal = AbortSignal.any([this.#stop.signal, of.signal])
    const { min, max } = TIMEOUT_SECONDS
    const seconds = options.timeoutSeconds || randomInt(min, max)
    this.#timer = setTimeout(() => this.#stop.abort(), Math.min(seconds, max) * 1000)
    response.once("close", () => this.#stop.abort())
    const headers = { "content-type": writer.contentType, "cache-control": "no-cache, private" }
    response.writeHead(200, headers)
    response.flushHeaders?.()
  }

  async send(type: EventType, object: Answer["object"]): Promise<void> {
    await this.#write(this.#writer.write(type, object))
  }

  async forward(events: readonly ObjectEvent[], selection: Selection): Promise<void> {
    const frames: Buffer[] = []
    for (const event of events) {
      const seen = seenAs(event, selection)
      if (seen !== undefined) frames.push(this.#frame(event, seen))
    }
    const [first, ...more] = frames
    if (first !== undefined) await this.#write(more.length === 0 ? first : Buffer.concat(frames))
  }

  /** A revision up to which the client has seen everything. Passed over while the client is slow. */
  async bookmark(revision: number, more: object = {}): Promise<void> {
    if (!this.#options.allowWatchBookmarks || this.#isFull) return
    const metadata = { resourceVersion: String(revision), ...more }
    await this.send("BOOKMARK", { ...this.#type, metadata } as KubeObject)
  }

  /** The last word of a watch that cannot go on. */
  async fail(error: unknown): Promise<void> {
    if (this.signal.aborted) return
    await this.send("ERROR", statusErrorOf(error).toStatus())
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#stop.abort()
    this.#response.end()
  }

  #frame(event: ObjectEvent, { type, object }: { type: EventType; object: KubeObject }): Buffer {
    const { form } = this.#writer
    if (form === undefined) return this.#writer.write(type, object)
    const known = written.get(event) ?? new Map<string, Buffer>()
    written.set(event, known)
    const key = `${type} ${form}`
    const frame = known.get(key) ?? this.#writer.write(type, object)
    known.set(key, frame)
    return frame
  }

  async #write(chunk: Buffer): Promise<void> {
    if (this.signal.aborted || this.#response.write(chunk)) return
    this.#isFull = true
    await drained(this.#response, this.signal)
    this.#isFull = false
  }
}

/** Resolves when the response takes more, or the signal aborts. */
function drained(response: ApiResponse, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const end = () => resolve()
  response.once("drain", end)
  signal.addEventListener("abort", end, { once: true })
  return promise.finally(() => {
    response.off("drain", end)
    signal.removeEventListener("abort", end)
  })
}
