/** Objects to bytes and back: `k8s\0` and protobuf's runtime.Unknown around one message, as kube-apiserver stores
 *  values and speaks `application/vnd.kubernetes.protobuf`. JSON is read too (Kubernetes reads both), never written. */

import { bug, KnownError } from "../errors.ts"
import { SelfSubjectAccessReview, SelfSubjectReview, SelfSubjectRulesReview } from "./auth.ts"
import { Lease } from "./coordination.ts"
import { Event, Namespace, Node, Secret } from "./core.ts"
import { mergeMessage } from "./merge.ts"
import * as meta from "./meta.ts"
import type { KubeObject } from "./object.ts"
import { type FieldType, isRecord, type Message } from "./schema.ts"
import { PROTOBUF } from "./value.ts"
import { BYTES, bufferOf, corrupt, Reader, Writer } from "./wire.ts"

const META = "meta.k8s.io/v1"

// biome-ignore format: a table
const KINDS: readonly (readonly [apiVersion: string, message: Message])[] = [
  ["v1", Secret],    ["v1", meta.listOf(Secret)],
  ["v1", Namespace], ["v1", meta.listOf(Namespace)],
  ["v1", Node],      ["v1", meta.listOf(Node)],
  ["v1", Event],     ["v1", meta.listOf(Event)],
  ["v1", meta.Status],        [META, meta.Status],
  ["v1", meta.DeleteOptions], [META, meta.DeleteOptions],
  ["authentication.k8s.io/v1", SelfSubjectReview],
  ["authorization.k8s.io/v1", SelfSubjectAccessReview],
  ["authorization.k8s.io/v1", SelfSubjectRulesReview],
  ["coordination.k8s.io/v1", Lease],
  [META, meta.PartialObjectMetadata], [META, meta.listOf(meta.PartialObjectMetadata)],
]

interface Kind {
  readonly message: Message
  readonly envelope: Message
}

const kinds: ReadonlyMap<string, Kind> = new Map(
  KINDS.map(([apiVersion, message]) => [
    `${apiVersion}/${message.name}`,
    { message, envelope: meta.envelope(message) },
  ]),
)

/** What an object must have to be encoded; its other fields are those of its kind's table. */
export interface Typed {
  readonly kind: string
  readonly apiVersion: string
}

/** Reads a stored value or an HTTP body. Throws ValueCorrupt where the bytes are damaged, and ObjectInvalid where they
 *  hold a kind that has no table. */
export function decodeObject(bytes: Uint8Array): KubeObject {
  const value = bufferOf(bytes)
  if (isProtobuf(value)) return decodeEnvelope(value)
  if (value[0] === 0x7b) return decodeJson(value)
  throw new KnownError("ValueCorrupt", "the value begins neither with k8s\\0 nor with {")
}

/** `unknownFrom` is the stored value that this object replaces: what it holds beyond our tables is kept (merge.ts).
 *  Throws ObjectInvalid where a field has a value that its table does not take. */
export function encodeObject(object: Typed, options: { unknownFrom?: Uint8Array } = {}): Buffer {
  const { envelope } = kindOf(object)
  const { apiVersion, kind } = object
  const value = { typeMeta: { apiVersion, kind }, raw: object }
  const plain = enveloped(envelope, value)
  const old = options.unknownFrom && bufferOf(options.unknownFrom)
  if (old === undefined || !isProtobuf(old) || plain.equals(old)) return plain
  if (encodeObject(decodeEnvelope(old)).equals(old)) return plain
  return Buffer.concat([PROTOBUF, mergeMessage(envelope, value, old.subarray(PROTOBUF.length))])
}

/** One event of a watch in protobuf; a stream puts its length, 4 bytes big-endian, before it. */
export function encodeWatchEvent({ type, object }: { type: string; object: Uint8Array }): Buffer {
  writer.start()
  const raw = bufferOf(object).toString("base64")
  meta.WatchEvent.encode(writer, { type, object: { raw } }, meta.WatchEvent.name)
  return writer.finish()
}

const writer = new Writer()

function enveloped(envelope: Message, value: object): Buffer {
  writer.start()
  envelope.encode(writer, value, envelope.name)
  writer.raw(PROTOBUF)
  return writer.finish()
}

function kindOf({ apiVersion, kind }: Typed): Kind {
  const known = kinds.get(`${apiVersion}/${kind}`)
  if (known) return known
  const message = `no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)}`
  throw new KnownError("ObjectInvalid", message)
}

/** Where the bytes of `raw` lie; they are read once the kind is known. */
const span: FieldType = {
  name: "raw",
  wireType: BYTES,
  zero: () => undefined,
  decode(reader, end) {
    const start = reader.position
    reader.position = end
    return { start, end }
  },
  encode: () => bug("a span is never written"),
}

const Unknown = meta.envelope(span)

interface UnknownFields {
  typeMeta: Typed
  raw?: { start: number; end: number }
  contentEncoding: string
  contentType: string
}

function decodeEnvelope(value: Buffer): KubeObject {
  const reader = new Reader(value)
  reader.position = PROTOBUF.length
  const unknown = Unknown.decode(reader, value.length, Unknown.name) as UnknownFields
  const { typeMeta, raw } = unknown
  if (unknown.contentEncoding !== "" || unknown.contentType !== "")
    throw corrupt("the envelope's content is encoded in a way that Kubernetes does not store,", 0)
  const object: Record<string, unknown> = { kind: typeMeta.kind, apiVersion: typeMeta.apiVersion }
  reader.position = raw?.start ?? value.length
  kindOf(typeMeta).message.decodeInto(object, reader, raw?.end ?? value.length)
  return object as KubeObject
}

function decodeJson(value: Buffer): KubeObject {
  let object: unknown
  try {
    object = JSON.parse(value.toString("utf8"))
  } catch {
    throw new KnownError("ValueCorrupt", "the value begins with { but is not JSON")
  }
  if (!isRecord(object) || typeof object.kind !== "string" || typeof object.apiVersion !== "string")
    throw new KnownError("ValueCorrupt", "the value is JSON without kind and apiVersion")
  return { metadata: {}, ...object } as KubeObject
}

const isProtobuf = (value: Buffer): boolean => value.subarray(0, PROTOBUF.length).equals(PROTOBUF)
