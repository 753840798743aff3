import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { failureOf, messageOf } from "../../../tests/outcome.ts"
import { sharedPath } from "../../../tests/shared.ts"
import { bytesOf, type Exchange, textOf, transcript } from "../../../tests/transcripts.ts"
import { BODY_BYTES_MAX, decodeBody, decodeDeleteBody, typedObject } from "./body.ts"
import { GoJsonError } from "../text/go-json.ts"
import { bodyMediaType, JSON_TYPE, type MediaType, PROTOBUF_TYPE, YAML_TYPE } from "./negotiate.ts"
import { createOptions, type FieldValidation } from "./options.ts"
import { NAMESPACES, NODES, SECRETS } from "../kinds/resources.ts"
import { warningHeader } from "../answer/respond.ts"

/** Decodes a recorded request as its handler does. */
function decode({ url, reqHeaders, reqBody }: Exchange) {
  const { fieldValidation } = createOptions(new URL(url, "http://x").searchParams)
  const mediaType = bodyMediaType(reqHeaders["content-type"])
  return decodeBody(SECRETS, bytesOf(reqBody), { mediaType, fieldValidation })
}

const decodeText = (
  body: string,
  {
    mediaType = JSON_TYPE,
    fieldValidation = "Warn",
  }: { mediaType?: MediaType; fieldValidation?: FieldValidation } = {},
) => decodeBody(SECRETS, Buffer.from(body), { mediaType, fieldValidation })

describe("recorded bodies", () => {
  test.each(["134", "135", "150", "155", "156", "158", "167", "170", "173", "174"])(
    "transcript %s is refused to the letter",
    (number) => {
      const { http } = transcript(number)
      const exchange = http.find(({ method }) => method === "POST")
      if (exchange === undefined) throw new Error("no POST")
      expect(failureOf(() => decode(exchange))).toBe(exchange.respBody)
    },
  )

  test.each(["026", "119", "125", "128", "147", "152", "159", "168", "171", "240"])(
    "transcript %s is read",
    (number) => {
      const { http } = transcript(number)
      const exchange = http.find(({ method }) => method === "POST")
      if (exchange === undefined) throw new Error("no POST")
      const { object, warnings } = decode(exchange)
      expect([object.kind, object.apiVersion, object.type]).toEqual(["Secret", "v1", "Opaque"])
      expect(warnings.map(warningHeader).join(", ")).toBe(exchange.respHeaders.warning ?? "")
      if (exchange.status !== 201) return
      const { metadata, data, immutable } = JSON.parse(textOf(exchange.respBody))
      expect({ data: object.data, immutable: object.immutable }).toEqual({ data, immutable })
      expect(metadata).toMatchObject(object.metadata)
    },
  )

  test("transcripts 015, 020: what kubectl sends in protobuf", () => {
    for (const number of ["015", "020"]) {
      const [exchange] = transcript(number).http
      if (exchange === undefined) throw new Error("no request")
      const { object } = decode(exchange)
      expect(object.metadata.namespace).toBe("tr")
      expect(Object.keys(object.data ?? {})).not.toEqual([])
    }
  })
})

const { secrets } = JSON.parse(readFileSync(sharedPath("vectors", "secrets.json"), "utf8"))
const vectors: { case: string; request: object; createBody: string }[] = secrets.filter(
  ({ request }: { request?: object }) => request !== undefined,
)

test.each(vectors)("$case is read as kube-apiserver reads it", ({ request, createBody }) => {
  const { object } = decodeText(JSON.stringify(request))
  const { metadata, kind, apiVersion, ...rest } = JSON.parse(createBody)
  const { metadata: read, kind: _, apiVersion: __, ...fields } = object
  expect(fields).toEqual(rest)
  expect(metadata).toMatchObject(read)
})

describe("JSON of the wrong type, in Go's words", () => {
  const cannot = (what: string) =>
    `Secret in version "v1" cannot be handled as a Secret: json: cannot unmarshal ${what}`
  // biome-ignore format: a table
  test.each([
    ['{"metadata":"x"}',                             "string into Go struct field Secret.metadata of type v1.ObjectMeta"],
    ['{"metadata":{"name":1}}',                      "number into Go struct field ObjectMeta.metadata.name of type string"],
    ['{"metadata":{"labels":{"a":true}}}',           "bool into Go struct field ObjectMeta.metadata.labels of type string"],
    ['{"metadata":{"labels":[]}}',                   "array into Go struct field ObjectMeta.metadata.labels of type map[string]string"],
    ['{"metadata":{"finalizers":"x"}}',              "string into Go struct field ObjectMeta.metadata.finalizers of type []string"],
    ['{"metadata":{"generation":1.5}}',              "number 1.5 into Go struct field ObjectMeta.metadata.generation of type int64"],
    ['{"metadata":{"ownerReferences":[{"uid":1}]}}', "number into Go struct field OwnerReference.metadata.ownerReferences.uid of type types.UID"],
    ['{"metadata":{"creationTimestamp":5}}',         "number into Go value of type string"],
    ['{"immutable":"yes"}',                          "string into Go struct field Secret.immutable of type bool"],
    ['{"data":"x"}',                                 "string into Go struct field Secret.data of type map[string][]uint8"],
    ['{"type":{}}',                                  "object into Go struct field Secret.type of type v1.SecretType"],
  ])("%s", (body, what) => {
    expect(messageOf(() => decodeText(body))).toBe(cannot(what))
  })

  test("a body that is no object", () => {
    expect(messageOf(() => decodeText("[]"))).toContain(
      "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct",
    )
    expect(messageOf(() => decodeText('{"kind":5}'))).toContain(
      "json: cannot unmarshal number into Go struct field .kind of type string",
    )
  })

  test("a time that is none", () => {
    const body = '{"metadata":{"creationTimestamp":"soon"}}'
    expect(messageOf(() => decodeText(body))).toContain(
      'parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006"',
    )
  })
})

test("null is nothing, empty is left out, and the server's fields stay", () => {
  const { object } = decodeText(
    '{"metadata":{"name":"a","labels":null,"annotations":{},"creationTimestamp":null,"uid":""},"data":{},"immutable":null}',
  )
  expect(object).toEqual({
    kind: "Secret",
    apiVersion: "v1",
    metadata: { name: "a" },
    type: "Opaque",
  })
})

test("stringData overwrites data", () => {
  const { object } = decodeText('{"data":{"a":"eA==","b":"eA=="},"stringData":{"b":"new","c":"ü"}}')
  expect(object).not.toHaveProperty("stringData")
  expect(object.data).toEqual({ a: "eA==", b: "bmV3", c: "w7w=" })
})

test("base64 with newlines is read, and written without", () => {
  expect(decodeText('{"data":{"a":"eHh4\\neHh4\\r\\n"}}').object.data).toEqual({ a: "eHh4eHh4" })
})

test("another version of the kind", () => {
  expect(messageOf(() => decodeText('{"apiVersion":"v2","kind":"Secret"}'))).toBe(
    'Secret in version "v2" cannot be handled as a Secret: ' +
      'no kind "Secret" is registered for version "v2" in scheme "keyturn"',
  )
})

test("of a long body the answer shows 30 bytes", () => {
  const body = `{"a": "${"x".repeat(40)}`
  expect(messageOf(() => decodeText(body))).toMatch(/ \(\{"a": "x{23} \.\.\.\)$/)
})

test("with Ignore nobody is told of anything", () => {
  const { warnings } = decodeText('{"foo":1,"foo":2}', { fieldValidation: "Ignore" })
  expect(warnings).toEqual([])
})

test("unknown fields are named by their path", () => {
  const body =
    '{"metadata":{"ownerReferences":[{"x":1}],"name":"a","name":"b"},"data":{"a":"","b":"","b":""}}'
  expect(decodeText(body).warnings).toEqual([
    'unknown field "metadata.ownerReferences[0].x"',
    'duplicate field "metadata.name"',
    'duplicate field "data.b"',
  ])
})

describe("YAML", () => {
  const yaml = (body: string, fieldValidation: FieldValidation = "Warn") =>
    decodeText(body, { mediaType: YAML_TYPE, fieldValidation })

  test("reads words as YAML 1.1 does", () => {
    expect(() => yaml("metadata: {labels: {a: yes}}")).toThrow(/cannot unmarshal bool/)
    expect(() => yaml("metadata: {labels: {a: 1}}")).toThrow(/cannot unmarshal number/)
    expect(yaml('metadata: {labels: {a: "yes", b: 2026-01-01}}').object.metadata.labels).toEqual({
      a: "yes",
      b: "2026-01-01",
    })
  })

  test("keys that are numbers are text", () => {
    expect(yaml("data: {1: eA==, 2.5: eA==}").object.data).toEqual({ "1": "eA==", "2.5": "eA==" })
  })

  test("a key that comes twice is told with its line", () => {
    const body = "metadata:\n  name: a\n  name: b\n"
    const problem = 'yaml: unmarshal errors:\n  line 3: key "name" already set in map'
    expect(yaml(body)).toMatchObject({ warnings: [problem], object: { metadata: { name: "b" } } })
    expect(messageOf(() => yaml(body, "Strict"))).toContain(`strict decoding error: ${problem}`)
  })

  test("what is no YAML is refused, with the line", () => {
    expect(messageOf(() => yaml("a: b: c\nd"))).toMatch(
      /^the object provided is unrecognized \(must be of type Secret\): error converting YAML to JSON: yaml: line 1: .* \(613a20623a20630a64\)$/s,
    )
  })
})

describe("protobuf", () => {
  const protobuf = (body: Buffer) =>
    decodeBody(SECRETS, body, { mediaType: PROTOBUF_TYPE, fieldValidation: "Warn" })

  test("what is no protobuf is refused, shown in hexadecimal", () => {
    expect(messageOf(() => protobuf(Buffer.from("junk")))).toMatch(
      /^the object provided is unrecognized \(must be of type Secret\): .* \(6a756e6b\)$/,
    )
  })

  test("transcript 014: a Namespace is no Secret", () => {
    const body = bytesOf(transcript("014").http[0]?.reqBody ?? "")
    expect(messageOf(() => protobuf(body))).toBe(
      'Namespace in version "v1" cannot be handled as a Secret: ' +
        "converting (v1.Namespace) to (core.Secret): unknown conversion",
    )
    const { object } = decodeBody(NAMESPACES, body, {
      mediaType: PROTOBUF_TYPE,
      fieldValidation: "Warn",
    })
    expect(object).toMatchObject({
      metadata: { name: "tr", labels: { "kubernetes.io/metadata.name": "tr" } },
      status: { phase: "Active" },
    })
  })
})

test("a node may use what it has, where it does not say otherwise", () => {
  const decodeNode = (status: object) =>
    decodeBody(NODES, Buffer.from(JSON.stringify({ status })), {
      mediaType: JSON_TYPE,
      fieldValidation: "Warn",
    })
  expect(decodeNode({ capacity: { cpu: 2 } }).object.status).toMatchObject({
    allocatable: { cpu: "2" },
  })
  const both = { capacity: { cpu: "2" }, allocatable: { cpu: "1" } }
  expect(decodeNode(both).object.status).toMatchObject(both)
})

test("a patched value is read without defaults", () => {
  const { object, problems } = typedObject(SECRETS, { x: 1, stringData: { a: "b" } })
  expect(object).toEqual({ kind: "Secret", apiVersion: "v1", metadata: {}, stringData: { a: "b" } })
  expect(problems).toEqual(['unknown field "x"'])
  expect(() => typedObject(SECRETS, { data: { a: "***" } })).toThrow(
    new GoJsonError("illegal base64 data at input byte 0"),
  )
})

test("the options of a delete, from a body", () => {
  const { reqBody } = transcript("221").http[0] ?? { reqBody: "" }
  expect(decodeDeleteBody(bytesOf(reqBody), JSON_TYPE)).toEqual({ preconditions: { uid: "nope" } })
  expect(decodeDeleteBody(Buffer.from('{"dryRun":["All"]}'), JSON_TYPE)).toEqual({
    dryRun: ["All"],
  })
  expect(messageOf(() => decodeDeleteBody(Buffer.from('{"dryRun":1}'), JSON_TYPE))).toBe(
    "json: cannot unmarshal number into Go struct field DeleteOptions.dryRun of type []string",
  )
  expect(messageOf(() => decodeDeleteBody(Buffer.from("{"), JSON_TYPE))).toContain(
    "unexpected end of JSON input",
  )
  expect(() =>
    decodeDeleteBody(Buffer.from('{"kind":"Secret","apiVersion":"v1"}'), JSON_TYPE),
  ).toThrow(/no kind "Secret"/)
})

test("transcript 138: the limit", () => {
  expect(textOf(transcript("138").http[0]?.respBody ?? "")).toContain(`limit is ${BODY_BYTES_MAX}`)
})
