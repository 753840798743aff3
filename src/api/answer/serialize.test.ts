import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { sharedPath } from "../../../tests/shared.ts"
import { bytesOf, textOf, transcript } from "../../../tests/transcripts.ts"
import { decodeObject } from "../../format/codec.ts"
import type { KubeObject } from "../../format/object.ts"
import { atRevision } from "../../registry/registry.ts"
import { JSON_TYPE, PROTOBUF_TYPE, YAML_TYPE } from "../request/negotiate.ts"
import { SECRETS } from "../kinds/resources.ts"
import { listOf, serialize, serializeEvent } from "./serialize.ts"
import { toPartial, toTable } from "./table.ts"

const { secrets } = JSON.parse(readFileSync(sharedPath("vectors", "secrets.json"), "utf8"))

interface Vector {
  readonly case: string
  readonly getJson: string
  readonly getYaml: string
  readonly getProtobufBase64: string
  readonly tableJson: string
  readonly partialMetadataJson: string
}
const vectors: Vector[] = secrets

/** As the registry hands it out. */
function stored({ getProtobufBase64 }: Vector): KubeObject {
  const object = decodeObject(Buffer.from(getProtobufBase64, "base64"))
  const { resourceVersion, ...metadata } = object.metadata
  return atRevision({ ...object, metadata }, Number(resourceVersion))
}

/** JavaScript's objects have keys that are numbers first; Go's maps have them in order. */
const NUMBERS_AS_KEYS = "labels-annos"

test.each(vectors)("$case as JSON", (vector) => {
  const json = serialize(stored(vector), { mediaType: JSON_TYPE, pretty: false })
  if (vector.case === NUMBERS_AS_KEYS)
    expect(JSON.parse(String(json))).toEqual(JSON.parse(vector.getJson))
  else expect(json).toBe(vector.getJson)
})

test.each(vectors)("$case as YAML", (vector) => {
  expect(serialize(stored(vector), { mediaType: YAML_TYPE, pretty: false })).toBe(vector.getYaml)
})

test.each(vectors)("$case as protobuf", (vector) => {
  const bytes = serialize(stored(vector), { mediaType: PROTOBUF_TYPE, pretty: false })
  expect(Buffer.from(bytes).toString("base64")).toBe(vector.getProtobufBase64)
})

test.each(vectors)("$case as PartialObjectMetadata", (vector) => {
  const partial = toPartial(stored(vector), "v1")
  expect(serialize(partial, { mediaType: JSON_TYPE, pretty: false })).toBe(
    vector.partialMetadataJson,
  )
})

test.each(vectors)("$case as a Table", (vector) => {
  const object = stored(vector)
  const recorded = JSON.parse(vector.tableJson)
  const table = toTable(
    SECRETS,
    { items: [object], metadata: { resourceVersion: object.metadata.resourceVersion ?? "" } },
    { version: "v1", includeObject: "Metadata", now: momentOf(recorded.rows[0], object) },
  )
  expect(serialize(table, { mediaType: JSON_TYPE, pretty: false })).toBe(vector.tableJson)
})

/** When the recorded row was made, from the age that it shows. */
function momentOf({ cells }: { cells: unknown[] }, { metadata }: KubeObject): Date {
  const [, seconds = "0"] = /^(\d+)s$/.exec(String(cells[3])) ?? []
  return new Date(Date.parse(metadata.creationTimestamp ?? "") + Number(seconds) * 1000)
}

test("transcript 165: people get it indented, without a newline", () => {
  const { respBody } = transcript("165").http[0] ?? { respBody: "" }
  const object = JSON.parse(textOf(respBody))
  expect(serialize(object, { mediaType: JSON_TYPE, pretty: true })).toBe(textOf(respBody))
})

test("transcripts 177, 185: a list with a token, its items without their kind", () => {
  for (const number of ["177", "185"]) {
    const recorded = textOf(transcript(number).http[0]?.respBody ?? "")
    const { metadata, items } = JSON.parse(recorded)
    const objects = items.map((item: object) => ({ apiVersion: "v1", kind: "Secret", ...item }))
    const list = listOf({ apiVersion: "v1", listKind: "SecretList" }, { items: objects, metadata })
    expect(serialize(list, { mediaType: JSON_TYPE, pretty: false })).toBe(recorded)
  }
})

test("transcript 018: a Status in protobuf", () => {
  const { respBody } = transcript("018").http[0] ?? { respBody: "" }
  const status = decodeObject(bytesOf(respBody))
  expect(serialize(status, { mediaType: PROTOBUF_TYPE, pretty: false })).toEqual(bytesOf(respBody))
})

test("transcript 198: the lines of a watch", () => {
  const recorded = textOf(transcript("198").http[0]?.respBody ?? "")
  const lines = recorded
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
    .map(({ type, object }) => serializeEvent(type, object, { mediaType: JSON_TYPE }))
  expect(lines.join("")).toBe(recorded)
})

test("an event of a watch in protobuf stands behind its length", () => {
  const object = stored(vectors[0] as Vector)
  const frame = Buffer.from(serializeEvent("ADDED", object, { mediaType: PROTOBUF_TYPE }))
  expect(frame.readUInt32BE(0)).toBe(frame.length - 4)
  expect(frame.includes("ADDED")).toBe(true)
})
