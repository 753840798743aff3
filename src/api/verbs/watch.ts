/** Watching: what changes, event by event, as long as the client listens. A watcher is a position in the store's log and reads
 *  at the client's pace, so a slow client costs no memory, one that compaction passes is told to list again, and one that does
 *  not read at all is cut. An event is written out once for each form that clients ask for. */

import { randomInt } from "node:crypto"
import { isKnown } from "../../errors.ts"
import type { KubeObject } from "../../format/object.ts"
import type { ObjectEvent } from "../../registry/registry.ts"
import type { Call, Deps } from "./call.ts"
import { statusErrorOf } from "../answer/failures.ts"
import type { Representation } from "../request/negotiate.ts"
import { type ListOptions, listOptions, revisionOf } from "../request/options.ts"
import { listSelected, type Selection, selectionOf } from "./read.ts"
import { apiVersionOf } from "../kinds/resources.ts"
import { type Answer, type ApiResponse, closing, cutUnlessRead } from "../answer/respond.ts"
import type { WatchEventType } from "../answer/serialize.ts"
import { expired } from "../status.ts"
import { makeWriter, seenAs, type Writer } from "./watch-writer.ts"

export interface WatchDeps extends Deps {
  /** Aborts when the server ends. */
  readonly signal: AbortSignal
}

/** Where the client does not say how long: Kubernetes' own span, so that not all come back at once. */
const TIMEOUT_SECONDS = { min: 1800, max: 3600 } as const
const BOOKMARK_MS = 60_000
const INITIAL_PAGE = 500

/** Resolves when the watch has ended. Throws StatusError as long as nothing has been sent; afterwards what the client was told of and
 *  the server's log is to have as well. */
export async function watch(
  deps: WatchDeps,
  call: Call,
  to: { response: ApiResponse; as: Representation },
): Promise<void> {
  const signal = AbortSignal.any([deps.signal, closing(to.response)])
  const options = listOptions(call.query)
  const selection = named(call, selectionOf(call.resource, options))
  const writer = makeWriter(deps, call, to.as)
  const first = await firstPage(deps, call, { options, selection })
  const type = { kind: call.resource.kind, apiVersion: apiVersionOf(call.resource) }
  const stream = new Stream(to.response, { writer, options, type, signal })
  try {
    const after = await sendInitial(deps, call, { options, selection, stream, first })
    await sendChanges(deps, call, { after, selection, stream })
  } catch (error) {
    if (stream.signal.aborted) return
    await stream.fail(error)
    if (statusErrorOf(error).code >= 500) throw error
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
  const wanted = revisionOf(options.resourceVersion)
  if (!(options.sendInitialEvents ?? wanted === undefined)) {
    if (wanted !== undefined) await refuseFuture(deps, wanted)
    return undefined
  }
  const page = { ...options, limit: INITIAL_PAGE, resourceVersionMatch: "NotOlderThan" } as const
  return listSelected(deps, call, { options: page, selection })
}

/** A revision of a datastore that this one has taken the place of: what happens until it is reached would be missed. Whoever has
 *  one is told to list again, in the words that all clients know. Throws 410. */
async function refuseFuture({ registry }: Deps, wanted: number): Promise<void> {
  const current = await registry.revision()
  if (wanted > current) throw expired(`too large resource version: ${wanted}, current: ${current}`)
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
    if (isKnown(error, "FutureRevision")) throw expired(error.message)
    if (!isKnown(error, "Compacted", "SlowWatcher")) throw error
    const oldest = await registry.compactedRevision()
    throw expired(`too old resource version: ${progress.revision} (${oldest})`)
  } finally {
    clearInterval(timer)
  }
}

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
    const headers = { "content-type": writer.contentType, "cache-control": "no-cache, private" }
    response.writeHead(200, headers)
    response.flushHeaders?.()
  }

  async send(type: WatchEventType, object: Answer["object"]): Promise<void> {
    await this.#write(this.#writer.write(type, object))
  }

  async forward(events: readonly ObjectEvent[], selection: Selection): Promise<void> {
    const frames: Buffer[] = []
    for (const event of events) {
      const seen = seenAs(event, selection)
      if (seen !== undefined) frames.push(this.#writer.writeShared(event, seen))
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
    await this.send("ERROR", statusErrorOf(error).toStatus())
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#stop.abort()
    cutUnlessRead(this.#response)
    this.#response.end()
  }

  async #write(chunk: Buffer): Promise<void> {
    if (this.signal.aborted || this.#response.write(chunk)) return
    this.#isFull = true
    const read = cutUnlessRead(this.#response)
    await drained(this.#response, this.signal)
    read()
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
