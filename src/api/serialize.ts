/** Answers as bytes: JSON with the fields in Go's order, YAML, or Kubernetes' protobuf. */

import { encodeObject, encodeWatchEvent } from "../format/codec.ts"
import type { KubeObject } from "../format/object.ts"
import { isRecord } from "../format/schema.ts"
import { goJson } from "./go-text.ts"
import { PROTOBUF_TYPE, type Representation, YAML_TYPE } from "./negotiate.ts"
import { ordered } from "./order.ts"
import type { ListMeta } from "./table.ts"
import { toYaml } from "./yaml-write.ts"

/** Anything with a kind: an object, a list, a Table, a Status. */
export interface Answer {
  readonly kind: string
  readonly apiVersion: string
  readonly metadata?: object
}

/** What has no table stays as it is. */
const inGoOrder = (answer: Answer): Answer => (hasMetadata(answer) ? ordered(answer) : answer)

const hasMetadata = (answer: Answer): answer is KubeObject => isRecord(answer.metadata)

/** The items of a list do not say their kind again. */
export const listOf = (
  of: { readonly apiVersion: string; readonly listKind: string },
  { items, metadata }: { readonly items: readonly KubeObject[]; readonly metadata: ListMeta },
) => ({
  kind: of.listKind,
  apiVersion: of.apiVersion,
  metadata,
  items: items.map((item) => {
    const { kind, apiVersion, ...rest } = ordered(item)
    return rest
  }),
})

/** Text where it can be: the writer of the answer encodes it. */
export function serialize(
  answer: Answer,
  { mediaType, pretty }: Pick<Representation, "mediaType" | "pretty">,
): string | Buffer {
  if (mediaType === PROTOBUF_TYPE) return encodeObject(answer)
  const shown = inGoOrder(answer)
  if (mediaType === YAML_TYPE) return toYaml(shown)
  return pretty ? goJson(shown, 2) : `${goJson(shown)}\n`
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
    const object = inGoOrder(answer)
    return mediaType === YAML_TYPE
      ? `${toYaml({ type, object })}---\n`
      : `${goJson({ type, object })}\n`
  }
  const event = encodeWatchEvent({ type, object: encodeObject(answer) })
  const frame = Buffer.alloc(4)
  frame.writeUInt32BE(event.length)
  return Buffer.concat([frame, event])
}
