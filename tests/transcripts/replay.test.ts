/** Every recorded request is sent again, in order, and the answer is held against the recorded one: status, headers and body,
 *  to the letter and in the same order, but for what differs by nature (names.ts) and on purpose (differences.ts). */

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { http1, http2, type HttpClient, type Received, type Sent } from "../harness/https.ts"
import { type Served, serveInProcess } from "../harness/served.ts"
import { ARRANGEMENTS, HEADERS, OMITTED_BODIES } from "./arrange.ts"
import { BY_RECORDING, type Difference, differenceOf } from "./differences.ts"
import { anonymous, Names } from "./names.ts"
import {
  bytesOf,
  type Exchange,
  isObject,
  type Json,
  type JsonObject,
  readBody,
  type Recording,
  readRecordings,
} from "./recording.ts"
import { isWatch, objectsIn, targetOf, World } from "./world.ts"

const ADMIN = { authorization: "Bearer admin" }

const recordings = readRecordings()
const numberOf = ({ name }: Recording): number => Number(name.slice(0, 3))

/** HTTP/2 need not wait for watches again. */
const withoutWatches = recordings.filter((recording) => numberOf(recording) < 198)

describe.each([
  { protocol: "HTTP/1.1", client: http1, replayed: recordings },
  { protocol: "HTTP/2", client: http2, replayed: withoutWatches },
])("over $protocol", ({ client: connect, replayed }) => {
  let served: Served
  let client: HttpClient
  let replay: Replay

  beforeAll(async () => {
    served = await serveInProcess()
    client = connect(served)
    replay = new Replay(served, client)
  })
  afterAll(async () => {
    client[Symbol.dispose]()
    await served.close()
  })

  test.each(
    replayed.map((recording, index) => ({
      recording,
      before: replayed[index - 1],
      name: recording.name,
    })),
  )("$name", async ({ recording, before }) => {
    const gap = before !== undefined && numberOf(recording) - numberOf(before) > 1
    await replay.run(recording, { gap })
  })
})

test("the table of differences names recordings that are there", () => {
  const names = recordings.map(({ name }) => name)
  for (const table of [BY_RECORDING, ARRANGEMENTS, OMITTED_BODIES, HEADERS])
    for (const name of Object.keys(table)) expect(names).toContain(name.split(" ")[0])
})

class Replay {
  readonly #served: Served
  readonly #client: HttpClient
  readonly #names = new Names()
  readonly #world: World
  /** By URL and Accept, for requests that were answered with 304. */
  readonly #etags = new Map<string, string>()

  constructor(served: Served, client: HttpClient) {
    this.#served = served
    this.#client = client
    this.#world = new World(served, this.#names, recordings)
  }

  async run(recording: Recording, { gap }: { gap: boolean }): Promise<void> {
    const { name, http } = recording
    const stage = {
      served: this.#served,
      world: this.#world,
      send: (sent: Sent) => this.#must(sent),
    }
    await this.#world.prepare(recording, { gap })
    await ARRANGEMENTS[name]?.(stage)
    for (const [index, exchange] of http.entries()) {
      this.#served.clock.now = timeOf(exchange) ?? this.#served.clock.now
      const received = await this.#send(name, exchange)
      this.#compare(exchange, received, differenceOf({ name, index, exchange }))
    }
  }

  async #must(sent: Sent): Promise<void> {
    const { status, body } = await this.#client.send({
      ...sent,
      headers: { ...ADMIN, ...sent.headers },
    })
    if (status >= 300) throw new Error(`${sent.method} ${sent.url}: ${status} ${body.toString()}`)
  }

  async #send(name: string, exchange: Exchange): Promise<Received> {
    const { method, reqHeaders, status } = exchange
    const cached = `${exchange.url.split("?")[0]} ${reqHeaders.accept}`
    const etag = status === 304 && this.#etags.get(cached)
    const sent = {
      method,
      url: this.#url(exchange),
      headers: { ...reqHeaders, ...HEADERS[name], ...(etag ? { "if-none-match": etag } : {}) },
      body: this.#body(name, exchange),
    }
    const [received] = await Promise.all([this.#client.send(sent), this.#meanwhile(exchange)])
    if (received.headers.etag !== undefined) this.#etags.set(cached, received.headers.etag)
    return received
  }

  /** A recorded watch ended with its client; ours ends by itself, and sooner. */
  #url({ url }: Exchange): string {
    const ours = this.#names.url(url)
    if (!isWatch(url)) return ours
    const short = ours.replace(/([?&]timeoutSeconds=)\d+/, "$11")
    return short.includes("timeoutSeconds=") ? short : `${short}&timeoutSeconds=1`
  }

  #body(name: string, { reqBody }: Exchange): string | Buffer | undefined {
    if (typeof reqBody === "string") return this.#names.ours(reqBody) || undefined
    if (reqBody === undefined || "base64" in reqBody) return bytesOf(reqBody)
    const make = OMITTED_BODIES[name]
    if (make === undefined) throw new Error("nobody knows what this body was")
    const length = Number.parseInt(reqBody.omitted, 10)
    const body = make(length)
    expect(body).toHaveLength(length)
    return body
  }

  /** While a watch runs, what the recorded one saw happen. */
  async #meanwhile(exchange: Exchange): Promise<void> {
    if (!isWatch(exchange.url)) return
    const bytes = bytesOf(exchange.respBody)
    const events =
      bytes === undefined ? [] : readBody(bytes, exchange.respHeaders["content-type"] ?? "")
    await new Promise((resolve) => setTimeout(resolve, 200))
    for (const event of Array.isArray(events) ? events : []) {
      if (!isObject(event) || !isObject(event.object)) continue
      const [object] = objectsIn({ ...exchange, respBody: JSON.stringify(event.object) })
      if (object === undefined || this.#names.knows(object.metadata.resourceVersion)) continue
      if (event.type !== "DELETED") await this.#world.put(object)
      else {
        const target = targetOf(exchange.url)
        const revision =
          target && (await this.#world.remove({ ...target, name: object.metadata.name }))
        this.#names.learn(object.metadata, {
          ...object.metadata,
          uid: this.#names.uidOf(object.metadata.uid) ?? "",
          resourceVersion: String(revision),
        })
      }
    }
  }

  #compare(exchange: Exchange, received: Received, difference: Difference | undefined): void {
    const recorded = {
      status: exchange.status,
      headers: exchange.respHeaders,
      body: recordedBody(exchange),
    }
    const isKept = recorded.body !== undefined
    const expected = {
      status: difference?.status ?? recorded.status,
      headers: difference?.headers ?? recorded.headers,
      body: difference?.body?.(recorded.body ?? null) ?? recorded.body,
    }
    const body = readBody(received.body, received.headers["content-type"] ?? "")
    const ours = (names: object) => ({
      status: received.status,
      headers: Object.fromEntries(
        Object.keys(names).map((name) => [name, String(received.headers[name])]),
      ),
      body: shown(isKept ? body : undefined),
    })
    if (difference !== undefined)
      expect(ours(recorded.headers), "the answers do not differ any more").not.toEqual({
        ...recorded,
        body: shown(recorded.body),
      })
    expect(ours(expected.headers)).toEqual({ ...expected, body: shown(expected.body) })
    this.#learn(recorded.body, body)
  }

  /** What the two call the same things; `recorded` is undefined where it was not kept. */
  #learn(recorded: Json | undefined, ours: Json): void {
    if (Array.isArray(recorded) && Array.isArray(ours))
      for (const [index, item] of recorded.entries()) this.#learn(item, ours[index] ?? null)
    if (!isObject(ours)) return
    const theirs = isObject(recorded) ? recorded : {}
    if (isObject(ours.metadata))
      this.#learnMetadata(isObject(theirs.metadata) ? theirs.metadata : {}, ours.metadata)
    if (isObject(recorded))
      for (const part of ["items", "rows", "object"])
        this.#learn(theirs[part] ?? null, ours[part] ?? null)
  }

  #learnMetadata(recorded: JsonObject, ours: JsonObject): void {
    const text = (value: Json | undefined) => (typeof value === "string" ? value : undefined)
    const token = text(ours.continue)
    if (token !== undefined) this.#names.learnToken(text(recorded.continue), token)
    this.#names.learn(recorded, ours)
    const [revision, ourRevision] = [text(recorded.resourceVersion), text(ours.resourceVersion)]
    if (recorded.uid === undefined && revision !== undefined && ourRevision !== undefined)
      this.#names.learnList(revision, ourRevision)
  }
}

/** The newest time in an answer is when it was given, or a little before. */
function timeOf(exchange: Exchange): Date | undefined {
  const body = recordedBody(exchange)
  const times = JSON.stringify(body ?? null).match(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g)
  const last = times?.toSorted().at(-1)
  return last === undefined ? undefined : new Date(last)
}

/** Undefined where the recording does not have it. */
function recordedBody({ respBody, respHeaders }: Exchange): Json | undefined {
  if (respBody === "") return ""
  const bytes = bytesOf(respBody)
  return bytes && readBody(bytes, respHeaders["content-type"] ?? "")
}

/** As text, for the order of an object's names is compared too. */
const shown = (body: Json | undefined): string | undefined =>
  body === undefined ? undefined : JSON.stringify(anonymous(body), null, 1)
