/** What a change is to one watcher, and how it is written for him. What two watchers ask for in the same form is written once. */

import type { KubeObject } from "../../format/object.ts"
import { atRevision, type ObjectEvent } from "../../registry/registry.ts"
import type { Call, Deps } from "./call.ts"
import type { Answer } from "../answer/respond.ts"
import { PROTOBUF_TYPE, type Representation } from "../request/negotiate.ts"
import { includeObject } from "../request/options.ts"
import type { Selection } from "./read.ts"
import { serializeEvent, type WatchEventType } from "../answer/serialize.ts"
import { toPartial, toTable } from "../answer/table.ts"

export interface Seen {
  readonly type: WatchEventType
  readonly object: KubeObject
}

/** What an event is to somebody who sees only a selection: an object that enters it is added, one that leaves it is deleted.
 *  Undefined: nothing. */
export function seenAs(event: ObjectEvent, selection: Selection): Seen | undefined {
  const { type, object, previous, revision } = event
  const isIn = type !== "delete" && selection.matches(object)
  const wasIn = previous !== undefined && selection.matches(previous)
  if (isIn) return { type: wasIn ? "MODIFIED" : "ADDED", object }
  if (!wasIn) return undefined
  return { type: "DELETED", object: type === "delete" ? object : atRevision(previous, revision) }
}

export interface Writer {
  readonly contentType: string
  write(type: WatchEventType, object: Answer["object"]): Buffer
  /** As `write`, for an event of the store. */
  writeShared(event: ObjectEvent, seen: Seen): Buffer
}

/** Throws 400. */
export function makeWriter(
  { now }: Deps,
  { resource, query }: Call,
  { mediaType, conversion }: Representation,
): Writer {
  const asRow = conversion?.kind === "Table" && rows({ resource, query, now, ...conversion })
  const shown = (object: Answer["object"]): Answer["object"] => {
    if (conversion === undefined || object.kind === "Status") return object
    return asRow ? asRow(object as KubeObject) : toPartial(object as KubeObject, conversion.version)
  }
  const write: Writer["write"] = (type, object) =>
    Buffer.from(serializeEvent(type, shown(object), { mediaType }))
  const form = `${mediaType} ${conversion?.version ?? ""}`
  return {
    contentType: mediaType === PROTOBUF_TYPE ? `${mediaType};stream=watch` : mediaType,
    write,
    // A row has an age, and the first one brings the columns: no two watchers get the same.
    writeShared: asRow
      ? (_, { type, object }) => write(type, object)
      : (event, { type, object }) => shared(event, `${type} ${form}`, () => write(type, object)),
  }
}

function rows(
  of: Pick<Call, "resource" | "query"> & Pick<Deps, "now"> & { version: "v1" | "v1beta1" },
) {
  const { resource, version } = of
  const include = includeObject(of.query)
  let withColumns = true
  return (object: KubeObject): Answer["object"] => {
    const metadata = { resourceVersion: object.metadata.resourceVersion ?? "" }
    const options = { version, includeObject: include, now: of.now(), withColumns }
    withColumns = false
    return toTable(resource, { items: [object], metadata }, options)
  }
}

/** Events as written, by form and type. */
const written = new WeakMap<ObjectEvent, Map<string, Buffer>>()

function shared(event: ObjectEvent, form: string, write: () => Buffer): Buffer {
  const forms = written.get(event) ?? new Map<string, Buffer>()
  written.set(event, forms)
  const frame = forms.get(form) ?? write()
  forms.set(form, frame)
  return frame
}
