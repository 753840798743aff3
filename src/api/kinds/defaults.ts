/** What Kubernetes adds to an object as it decodes it, before anything looks at it. */

import { isRecord } from "../../format/schema.ts"
import type { KubeObject } from "../../format/object.ts"

type Defaults = (object: KubeObject) => KubeObject

/** stringData is written, never read: it becomes data. */
const secret: Defaults = ({ stringData, ...object }) => {
  const added = Object.entries(isRecord(stringData) ? stringData : {}).map(([key, text]) => [
    key,
    Buffer.from(String(text)).toString("base64"),
  ])
  const data = isRecord(object.data) ? object.data : {}
  return {
    ...object,
    ...(added.length > 0 ? { data: sorted([...Object.entries(data), ...added]) } : {}),
    type: object.type || "Opaque",
  }
}

/** Every namespace is selected by its name. */
const namespace: Defaults = (object) => {
  const { name, labels = {} } = object.metadata
  const status = isRecord(object.status) ? object.status : {}
  return {
    ...object,
    metadata: name
      ? {
          ...object.metadata,
          labels: sorted([...Object.entries(labels), ["kubernetes.io/metadata.name", name]]),
        }
      : object.metadata,
    status: { ...status, phase: status.phase || "Active" },
  } as KubeObject
}

const node: Defaults = (object) => {
  const status = isRecord(object.status) ? object.status : {}
  if (status.allocatable !== undefined || status.capacity === undefined) return object
  return { ...object, status: { ...status, allocatable: status.capacity } }
}

const BY_KIND: Readonly<Record<string, Defaults>> = {
  Secret: secret,
  Namespace: namespace,
  Node: node,
}

/** The last of equal keys counts. */
const sorted = (entries: unknown[][]): Record<string, unknown> =>
  Object.fromEntries(
    [...new Map(entries as [string, unknown][])].toSorted(([a], [b]) =>
      a < b ? -1 : a > b ? 1 : 0,
    ),
  )

/** A new object where something is added. */
export const applyDefaults = (object: KubeObject): KubeObject =>
  BY_KIND[object.kind]?.(object) ?? object
