/** Answers as bytes: JSON, YAML, or Kubernetes' protobuf. Objects come with their fields in Go's order: the codec makes them so. */

import { encodeObject, encodeWatchEvent } from "../../format/codec.ts"
import type { KubeObject } from "../../format/object.ts"
import { goJson } from "../text/go-text.ts"
import { PROTOBUF_TYPE, type Representation, YAML_TYPE } from "../request/negotiate.ts"
import type { ListMeta } from "./table.ts"
import { toYaml } from "../text/yaml-write.ts"

/** Anything with a kind: an object, a list, a Table, a Status. */
export interface Answer {
  readonly kind: string
  readonly apiVersion: string
  readonly metadata?: object
}

/** The items of a list do not say their kind again. */
export const listOf = (
  of: { readonly apiVersion: string; readonly listKind: string },
  { items, metadata }: { readonly items: readonly KubeObject[]; readonly metadata: ListMeta },
) => ({
  kind: of.listKind,
  apiVersion: of.apiVersion,
  metadata,
  items: items.map((item) => {
    const { kind, apiVersion, ...rest } = item
    return rest
  }),
})

/** Text where it can be: the writer of the answer encodes it. */
export function serialize(
  answer: Answer,
  { mediaType, pretty }: Pick<Representation, "mediaType" | "pretty">,
): string | Buffer {
  if (mediaType === PROTOBUF_TYPE) return encodeObject(answer)
  if (mediaType === YAML_TYPE) return toYaml(answer)
  return pretty ? goJson(answer, 2) : `${goJson(answer)}\n`
}

export type WatchEventType = "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR"

/** One event of a watch, framed as the media type frames it: a line of JSON, a YAML document, or protobuf after its
 *  length. */
export function serializeEvent(
  type: WatchEventType,
  answer: Answer,
  { mediaType }: Pick<Representation, "mediaType">,
): string | Buffer {
  if (mediaType !== PROTOBUF_TYPE) {
    const event = { type, object: answer }
    return mediaType === YAML_TYPE ? `${toYaml(event)}---\n` : `${goJson(event)}\n`
  }
  const event = encodeWatchEvent({ type, object: encodeObject(answer) })
  const frame = Buffer.alloc(4)
  frame.writeUInt32BE(event.length)
  return Buffer.concat([frame, event])
}
