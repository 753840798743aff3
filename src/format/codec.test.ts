import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { decodeObject, encodeObject, encodeWatchEvent } from "./codec.ts"
import type { KubeObject } from "./object.ts"

const secret = (fields: object = {}): KubeObject => ({
  kind: "Secret",
  apiVersion: "v1",
  metadata: { name: "s" },
  ...fields,
})

const outcome = (act: () => unknown): unknown => {
  try {
    return act()
  } catch (error) {
    if (isKnown(error)) return error.code
    throw error
  }
}

const typeMeta = (apiVersion: string, kind: string) =>
  `0a${hexLength(apiVersion.length + kind.length + 4)}` +
  `0a${hexLength(apiVersion.length)}${hex(apiVersion)}12${hexLength(kind.length)}${hex(kind)}`
const hex = (text: string) => Buffer.from(text).toString("hex")
const hexLength = (bytes: number) => bytes.toString(16).padStart(2, "0")
/** `k8s\0`, runtime.Unknown and the message between. */
const stored = (kind: string, body: string, apiVersion = "v1") =>
  `6b387300${typeMeta(apiVersion, kind)}12${hexLength(body.length / 2)}${body}1a002200`

/** ObjectMeta {name: "n"}: all value fields are there, the zero creationTimestamp as an empty message. */
const META = "0a016e12001a0022002a00320038004200"
const metadata = { name: "n" }

const NODE_INFO = "0a0012001a0022002a0032003a0042004a005200"
// biome-ignore format: a table
const NODE_INFO_SHOWN = {
  machineID: "", systemUUID: "", bootID: "", kernelVersion: "", osImage: "",
  containerRuntimeVersion: "", kubeletVersion: "", kubeProxyVersion: "",
  operatingSystem: "", architecture: "",
}

// By hand from Go's rules (gogo, proto2): kind, JSON, message.
// biome-ignore format: a table
const bodies: readonly (readonly [string, object, string])[] = [
  ["Secret", { metadata, immutable: false, data: { a: "", b: "AQI=" }, type: "T" }, `0a11${META}12050a0161120012070a0162120201021a01542800`],
  ["Namespace", { metadata, spec: { finalizers: ["k"] }, status: { phase: "Active" } }, `0a11${META}12030a016b1a080a06${hex("Active")}`],
  ["Namespace", { metadata, spec: {}, status: {} }, `0a11${META}12001a020a00`],
  ["Node", { metadata, spec: { podCIDR: "c", unschedulable: true }, status: { capacity: { cpu: "2" }, daemonEndpoints: { kubeletEndpoint: { Port: 0 } }, nodeInfo: NODE_INFO_SHOWN } },
    `0a11${META}12090a016312001a0020011a2a0a0a0a03${hex("cpu")}12030a01321a0032040a0208003a14${NODE_INFO}`],
  ["Event", { metadata, involvedObject: {}, source: {}, firstTimestamp: null, lastTimestamp: null, count: -1, eventTime: "1970-01-01T00:00:01.000002Z", reportingComponent: "", reportingInstance: "" },
    `0a11${META}120e0a0012001a0022002a0032003a001a0022002a040a00120032003a0040ffffffffffffffffff014a005205080110d00f620072007a00`],
  ["Status", { metadata: {}, status: "Failure", details: { causes: [{ reason: "r" }] }, code: 404 }, `0a060a0012001a001207${hex("Failure")}1a0022002a130a0012001a0022070a017212001a0028003200309403`],
  ["DeleteOptions", { gracePeriodSeconds: 0, preconditions: { uid: "u" }, dryRun: ["All"] }, `080012030a01752a03${hex("All")}`],
  ["SecretList", { metadata: { resourceVersion: "7" }, items: [] }, "0a070a001201371a00"],
]

test.each(bodies)("a %s is Go's bytes and Go's JSON", (kind, fields, body) => {
  const object = { kind, apiVersion: "v1", ...fields }
  const bytes = encodeObject(object)
  expect(bytes.toString("hex")).toBe(stored(kind, body))
  expect(JSON.stringify(decodeObject(bytes))).toBe(JSON.stringify(object))
})

test("a Lease is Go's bytes: of its spec only what is set", () => {
  const apiVersion = "coordination.k8s.io/v1"
  const spec = {
    holderIdentity: "h",
    leaseDurationSeconds: 8,
    acquireTime: "1970-01-01T00:00:01.000002Z",
    renewTime: "1970-01-01T00:00:02.000000Z",
    leaseTransitions: 0,
  }
  const object = { kind: "Lease", apiVersion, metadata, spec }
  const body = `0a11${META}12140a016810081a05080110d00f2204080210002800`
  const bytes = encodeObject(object)
  expect(bytes.toString("hex")).toBe(stored("Lease", body, apiVersion))
  expect(JSON.stringify(decodeObject(bytes))).toBe(JSON.stringify(object))
  const empty = { ...object, spec: {} }
  expect(decodeObject(encodeObject(empty))).toEqual(empty)
})

test("lists of metadata have a version of their own", () => {
  const object = {
    kind: "PartialObjectMetadataList",
    apiVersion: "meta.k8s.io/v1",
    metadata: { continue: "c", remainingItemCount: 0 },
    items: [{ metadata }],
  }
  expect(decodeObject(encodeObject(object))).toEqual(object)
  expect(outcome(() => encodeObject({ ...object, apiVersion: "v1" }))).toBe("ObjectInvalid")
})

test("an event of a watch wraps a whole object, envelope and all", () => {
  const object = encodeObject(secret())
  const event = encodeWatchEvent({ type: "ADDED", object })
  const raw = object.toString("hex")
  const length = object.length + 2
  expect(event.toString("hex")).toBe(
    `0a05${hex("ADDED")}12${hexLength(length)}0a${hexLength(object.length)}${raw}`,
  )
})

describe("fields", () => {
  const roundTrip = (fields: object) => decodeObject(encodeObject(secret(fields)))

  test("keys of a map that mean something in JavaScript are keys like others", () => {
    const data = JSON.parse('{"__proto__":"AQ==","constructor":"Ag==","toString":""}') as object
    const read = roundTrip({ data }).data
    expect(JSON.stringify(read)).toBe(JSON.stringify(data))
  })

  test("entries lie in the order of their UTF-8 bytes", () => {
    const annotations = { "\u{10000}": "third", "\uffff": "second", z: "first" }
    const bytes = encodeObject(secret({ metadata: { annotations } }))
    const places = ["first", "second", "third"].map((value) => bytes.indexOf(value))
    expect(places).toEqual(places.toSorted((a, b) => a - b))
    expect(places).not.toContain(-1)
  })

  test.each([0, 1, 127, 128, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER, -1, -(2 ** 40)])(
    "the number %d",
    (deletionGracePeriodSeconds) => {
      const metadata = { deletionGracePeriodSeconds }
      expect(roundTrip({ metadata }).metadata).toEqual(metadata)
    },
  )

  // biome-ignore format: a table
  test.each([
    ["2026-11-23T20:43:18Z", "2026-11-23T20:43:18Z"],
    ["2026-11-23T20:43:18.987+02:00", "2026-11-23T18:43:18Z"],
    ["1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"],
    ["0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"],
    ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"],
    ["2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"],
    ["0001-01-01T00:00:00Z", undefined],
    [null, undefined],
  ])("the time %s reads as %s", (creationTimestamp, shown) => {
    expect(roundTrip({ metadata: { creationTimestamp } }).metadata.creationTimestamp).toBe(shown)
  })

  // biome-ignore format: a table
  const refused: readonly (readonly [object, string])[] = [
    [{ data: { k: 1 } }, "Secret.data: expected base64 string, got number"],
    [{ data: { k: "AA=" } }, "Secret.data: illegal base64 data"],
    [{ data: { k: "AA-_" } }, "Secret.data: illegal base64 data"],
    [{ data: { k: "A\u00e9AA" } }, "Secret.data: illegal base64 data"],
    [{ data: { k: "=" } }, "Secret.data: illegal base64 data"],
    [{ data: [] }, "Secret.data: expected object, got array"],
    [{ type: null, immutable: "no" }, "Secret.immutable: expected boolean, got string"],
    [{ metadata: { labels: { a: 1 } } }, "ObjectMeta.labels: expected string, got number"],
    [{ metadata: { finalizers: "x" } }, "ObjectMeta.finalizers: expected array, got string"],
    [{ metadata: { finalizers: [null] } }, "ObjectMeta.finalizers: expected string, got null"],
    [{ metadata: { generation: 1.5 } }, "ObjectMeta.generation: expected integer, got number"],
    [{ metadata: { generation: 2 ** 53 } }, "ObjectMeta.generation: expected integer, got number"],
    [{ metadata: { creationTimestamp: "2026-02-30T00:00:00Z" } }, "ObjectMeta.creationTimestamp: not a time in RFC 3339"],
    [{ metadata: { creationTimestamp: "0000-01-01T00:00:00+01:00" } }, "ObjectMeta.creationTimestamp: not a time in RFC 3339"],
    [{ metadata: { creationTimestamp: "2026-11-23" } }, "ObjectMeta.creationTimestamp: not a time in RFC 3339"],
    [{ metadata: "x" }, "Secret.metadata: expected object, got string"],
    [{ kind: "Pod" }, 'no kind "Pod" is registered for version "v1"'],
  ]

  test.each(refused)("%j is refused", (fields, message) => {
    const encode = () => encodeObject(secret(fields))
    expect(outcome(encode)).toBe("ObjectInvalid")
    expect(encode).toThrow(message)
  })

  test("a large object is written whole, and the next small one too", () => {
    const data = { k: Buffer.alloc(3_000_000, 7).toString("base64") }
    expect(roundTrip({ data }).data).toEqual(data)
    expect(roundTrip({ data: { k: "AQ==" } }).data).toEqual({ k: "AQ==" })
  })
})

describe("values that are not ours to write", () => {
  test("JSON is read as Kubernetes reads it", () => {
    const object = secret({ data: { k: "AQ==" } })
    expect(decodeObject(Buffer.from(JSON.stringify(object)))).toEqual(object)
    expect(encodeObject(object, { unknownFrom: Buffer.from("{}") })).toEqual(encodeObject(object))
  })

  // biome-ignore format: a table
  test.each([
    ["", "neither"],
    ["xyz", "neither"],
    ["{", "not JSON"],
    ["{}", "without kind"],
    ['{"kind":1,"apiVersion":"v1"}', "without kind"],
    ["k8s\0\x0a\x7f", "Unknown.typeMeta: says it has 127 bytes, but 0 are left, at byte 5"],
    ["k8s\0\x12\x80\x80\x80\x80\x80\x80\x80\x80\x02", "beyond 2^53"],
    ["k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "says it has -1 bytes"],
    ["k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "more than 10 bytes"],
    ["k8s\0\x00\x00", "0 is no field's tag"],
    ["k8s\0\x0b\x0c", "wire type 3"],
    ["k8s\0\x10\x01", "Unknown.raw: wire type 0 does not fit"],
    ["k8s\0\x1a\x04gzip", "the envelope's content is encoded"],
    [`k8s\0\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x04\x0a\x02\x38\xff`, "ObjectMeta.generation: the number is cut off"],
    [`k8s\0\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x03\x49\x01\x01`, "Secret, field 9: the value is cut off"],
  ])("%j", (text, message) => {
    const decode = () => decodeObject(Buffer.from(text, "latin1"))
    expect(outcome(decode)).toBe("ValueCorrupt")
    expect(decode).toThrow(message)
  })

  test("no damage ends in another error than ValueCorrupt, or in a kind that nobody knows", () => {
    const whole = encodeObject(
      secret({
        metadata: {
          name: "n",
          creationTimestamp: "2026-11-23T20:43:18Z",
          labels: { a: "b" },
          managedFields: [{ fieldsV1: { "f:a": {} }, time: "2026-11-23T20:43:18Z" }],
          ownerReferences: [{ apiVersion: "v1", kind: "K", name: "n", uid: "u", controller: true }],
        },
        data: { k: "AQIDBA==" },
      }),
    )
    const damage = fc.record({
      at: fc.nat(whole.length - 1),
      byte: fc.nat(255),
      cut: fc.option(fc.nat(whole.length)),
    })
    const allowed = new Set<unknown>(["ValueCorrupt", "ObjectInvalid"])
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 4 }), (damages) => {
        let bytes = Buffer.from(whole)
        for (const { at, byte, cut } of damages) {
          bytes[at % bytes.length] = byte
          if (cut !== null) bytes = bytes.subarray(0, Math.max(1, cut))
        }
        const result = outcome(() => decodeObject(bytes))
        expect(typeof result === "object" || allowed.has(result)).toBe(true)
      }),
      { numRuns: 3000 },
    )
  })
})
