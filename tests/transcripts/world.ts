/** Brings the server's store to where the recorded server's was. Recordings that are missing made, changed and deleted objects;
 *  what they left is put into the registry as it was recorded, and nothing else: an object whose recorded revision came in an
 *  earlier answer must be there without help. */

import type { KubeObject } from "../../src/format/object.ts"
import type { Kind, Ref } from "../../src/registry/resource.ts"
import { STORED_RESOURCES } from "../../src/api/kinds/resources.ts"
import type { Served } from "../harness/served.ts"
import type { Names } from "./names.ts"
import {
  bytesOf,
  type Exchange,
  isObject,
  type Json,
  type JsonObject,
  readBody,
  type Recording,
} from "./recording.ts"

type Meta = JsonObject & { name: string; namespace?: string; uid: string; resourceVersion: string }
type Recorded = JsonObject & { kind: string; metadata: Meta }

const kindNamed = (kind: string) => STORED_RESOURCES.find((resource) => resource.kind === kind)

const idOf = ({ kind, metadata }: Recorded): string =>
  `${kind} ${metadata.namespace ?? ""}/${metadata.name}`

/** A state of an object that some answer shows. */
interface Version {
  readonly revision: number
  readonly object: Recorded
  /** Whether the answer to a write showed it first: then the write's replay makes it. */
  readonly made: boolean
}

export class World {
  readonly #served: Served
  readonly #names: Names
  readonly #recordings: readonly Recording[]
  /** Oldest first, by kind and name. */
  readonly #versions = new Map<string, Version[]>()

  constructor(served: Served, names: Names, recordings: readonly Recording[]) {
    this.#served = served
    this.#names = names
    this.#recordings = recordings
    for (const { http } of recordings)
      for (const exchange of http)
        for (const object of objectsIn(exchange)) this.#note(object, exchange)
    for (const versions of this.#versions.values()) versions.sort((a, b) => a.revision - b.revision)
  }

  /** Before a recording: all objects as they were at the revision that it reads at, but for those that requests make. */
  async prepare({ http }: Recording, { gap }: { gap: boolean }): Promise<void> {
    const revision = Math.max(0, ...http.flatMap(revisionsRead))
    const latest = [...this.#versions.values()]
      .flatMap((versions) => versions.filter((version) => version.revision <= revision).slice(-1))
      .filter(({ made, revision: seen }) => !made && !this.#names.knows(String(seen)))
      .toSorted((a, b) => a.revision - b.revision)
    for (const { object } of latest) await this.put(object)
    for (const exchange of gap ? http.slice(0, 1) : []) await this.#forget(exchange)
  }

  /** Puts the recorded object there, under the name that the recording gives it. */
  async put(recorded: Recorded): Promise<void> {
    const kind = kindNamed(recorded.kind)
    if (kind === undefined) return
    const { resourceVersion, uid, ...metadata } = recorded.metadata
    const { registry } = this.#served
    const ref = refOf(recorded)
    const ours = this.#names.uidOf(uid) ?? crypto.randomUUID()
    const object = { ...recorded, metadata: { ...metadata, uid: ours } } as unknown as KubeObject
    const stored = await registry.get(kind, ref)
    const written = stored
      ? await registry.replace(stored, object)
      : await registry.create(kind, ref, object)
    this.#names.learn({ uid, resourceVersion }, { ...written.metadata } as JsonObject)
  }

  async remove({ kind, ...ref }: Target): Promise<number | undefined> {
    const { name } = ref
    const stored = name && (await this.#served.registry.get(kind, { ...ref, name }))
    return stored ? this.#served.registry.remove(stored) : undefined
  }

  /** The recorded object `kind ns/name@revision`. */
  find(id: string): Recorded {
    const [name = "", revision] = id.split("@")
    const found = this.#versions.get(name)?.find((version) => version.revision === Number(revision))
    if (found === undefined) throw new Error(`nothing recorded is ${id}`)
    return found.object
  }

  /** The object in the body of a recorded request. */
  sent(name: string): Recorded {
    const body = this.#recordings.find((recording) => recording.name === name)?.http[0]?.reqBody
    return JSON.parse(typeof body === "string" ? body : "null")
  }

  #note(object: Recorded, exchange: Exchange): void {
    if (object.kind === "PartialObjectMetadata") return
    const revision = Number(object.metadata.resourceVersion)
    const versions = this.#versions.get(idOf(object)) ?? []
    this.#versions.set(idOf(object), versions)
    const known = versions.find((version) => version.revision === revision)
    if (known === undefined) versions.push({ revision, object, made: !isRead(exchange) })
  }

  /** What a missing recording deleted. */
  async #forget(exchange: Exchange): Promise<void> {
    const target = targetOf(exchange.url)
    if (target === undefined || exchange.method !== "GET") return
    if (target.name !== undefined) {
      if (exchange.status === 404) await this.remove(target)
      return
    }
    if (isWatch(exchange.url) || /[?&](?:limit=[1-9]|continue=|\w+Selector=)/.test(exchange.url))
      return
    if (exchange.status !== 200 || typeof exchange.respBody !== "string") return
    const kept = new Set(objectsIn(exchange).map(({ metadata }) => metadata.name))
    const { items } = await this.#served.registry.list(target.kind, { namespace: target.namespace })
    for (const stored of items)
      if (!kept.has(stored.object.metadata.name ?? "")) await this.#served.registry.remove(stored)
  }
}

export const isWatch = (url: string): boolean => /[?&]watch=|\/watch\//.test(url)

/** A watch from no revision shows first what is there; one from a revision shows what others make. */
const isRead = ({ method, url }: Exchange): boolean =>
  method === "GET" && (!isWatch(url) || !/[?&]resourceVersion=[1-9]/.test(url))

/** The revisions that an answer was read at: those of lists, and of objects. */
function revisionsRead(exchange: Exchange): number[] {
  const bytes = bytesOf(exchange.respBody)
  if (!isRead(exchange) || bytes === undefined) return []
  const [, token] = /[?&]continue=([\w-]+)/.exec(exchange.url) ?? []
  const objects = objectsIn(exchange).map(({ metadata }) => Number(metadata.resourceVersion))
  const body = readBody(bytes, exchange.respHeaders["content-type"] ?? "")
  const list = isObject(body) && isObject(body.metadata) ? Number(body.metadata.resourceVersion) : 0
  return [
    ...objects,
    list || 0,
    token ? JSON.parse(Buffer.from(token, "base64url").toString()).rv : 0,
  ]
}

export interface Target {
  readonly kind: Kind & { readonly kind: string }
  readonly namespace?: string | undefined
  readonly name?: string | undefined
}

/** What a URL is about; undefined where it is no served resource. */
export function targetOf(url: string): Target | undefined {
  const [path = ""] = url.split("?")
  const parts = path.replace("/watch/", "/").split("/").slice(3)
  if (!path.startsWith("/api/v1/")) return undefined
  const inNamespace = parts[0] === "namespaces" && parts.length > 2
  const [plural, name] = inNamespace ? parts.slice(2) : parts
  const kind = STORED_RESOURCES.find((resource) => resource.plural === plural)
  return kind && { kind, namespace: inNamespace ? parts[1] : undefined, name }
}

const refOf = ({ metadata }: Recorded): Ref => ({
  namespace: metadata.namespace,
  name: metadata.name,
})

/** The objects of an answer that has them whole or by their metadata. */
export function objectsIn({ url, respBody, respHeaders }: Exchange): Recorded[] {
  const bytes = bytesOf(respBody)
  const contentType = respHeaders["content-type"] ?? ""
  if (bytes === undefined || contentType.includes("yaml")) return []
  const kind = targetOf(url)?.kind.kind
  return kind === undefined ? [] : objectsOf(readBody(bytes, contentType), kind)
}

function objectsOf(body: Json | undefined, kind: string): Recorded[] {
  if (Array.isArray(body))
    return body.flatMap((event) => (isObject(event) ? objectsOf(event.object, kind) : []))
  if (!isObject(body)) return []
  const { items, rows } = body
  if (Array.isArray(items))
    return items.flatMap((item) =>
      isObject(item) ? objectsOf({ kind, apiVersion: "v1", ...item }, kind) : [],
    )
  if (Array.isArray(rows))
    return rows.flatMap((row) => (isObject(row) ? objectsOf(row.object, kind) : []))
  const { metadata } = body
  const isOne =
    isObject(metadata) &&
    typeof metadata.uid === "string" &&
    typeof metadata.resourceVersion === "string"
  return isOne ? [body as Recorded] : []
}
