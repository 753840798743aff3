import { expect, test } from "vitest"
import { failureOf } from "../../../tests/outcome.ts"
import { transcripts } from "../../../tests/transcripts.ts"
import { JSON_TYPE, negotiate, negotiateDiscovery, PROTOBUF_TYPE, YAML_TYPE } from "./negotiate.ts"

const of = (accept: string, more: { userAgent?: string; query?: string } = {}) =>
  negotiate({ accept, ...more, query: new URLSearchParams(more.query) })

test("every recorded answer about a resource is in the form that is negotiated", () => {
  let seen = 0
  for (const { name, http } of transcripts())
    for (const { url, status, reqHeaders, respHeaders } of http) {
      const path = new URL(url, "http://x").pathname
      if (!path.startsWith("/api/v1/") || respHeaders["content-type"]?.startsWith("text/")) continue
      const { mediaType } = of(reqHeaders.accept ?? "")
      expect(`${name} ${status} ${respHeaders["content-type"]}`).toBe(
        `${name} ${status} ${mediaType}`,
      )
      seen++
    }
  expect(seen).toBeGreaterThan(150)
})

const table = { kind: "Table", version: "v1" }
const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

// biome-ignore format: a table
test.each([
  ["",                                                       JSON_TYPE,     undefined],
  ["*/*",                                                    JSON_TYPE,     undefined],
  ["application/*",                                          JSON_TYPE,     undefined],
  ["application/yaml",                                       YAML_TYPE,     undefined],
  ["application/vnd.kubernetes.protobuf,application/json",   PROTOBUF_TYPE, undefined],
  ["application/json;q=0.5,application/yaml",                YAML_TYPE,     undefined],
  ["*/*,application/yaml",                                   YAML_TYPE,     undefined],
  ["text/html, */*;q=0.8",                                   JSON_TYPE,     undefined],
  [TABLE,                                                    JSON_TYPE,     table],
  [`application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,${TABLE}`, JSON_TYPE, table],
  ["application/json;as=Table;v=v2;g=meta.k8s.io,application/json", JSON_TYPE, undefined],
  ["application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io", JSON_TYPE, { kind: "PartialObjectMetadataList", version: "v1beta1" }],
  ["application/json;stream=watch",                          JSON_TYPE,     undefined],
])("%j", (accept, mediaType, conversion) => {
  expect(of(accept)).toEqual({ mediaType, conversion, pretty: false })
})

test("people get it indented", () => {
  expect(of("", { query: "pretty=true" }).pretty).toBe(true)
  expect(of("application/json;pretty=1").pretty).toBe(true)
  expect(of("*/*", { userAgent: "curl/8.5" }).pretty).toBe(true)
  expect(of("*/*", { userAgent: "curl/8.5", query: "pretty=false" }).pretty).toBe(false)
  expect(of("*/*", { userAgent: "kubectl/v1.36" }).pretty).toBe(false)
})

test.each(["application/cbor", "text/html", "application/json;as=Nothing;g=x;v=y"])(
  "%s is not there",
  (accept) => {
    expect(failureOf(() => of(accept))).toBe(
      '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",' +
        '"message":"only the following media types are accepted: application/json, ' +
        'application/yaml, application/vnd.kubernetes.protobuf","reason":"NotAcceptable","code":406}\n',
    )
  },
)

test("aggregated discovery in the version that the client prefers", () => {
  const as = (version: string) =>
    `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`
  expect(negotiateDiscovery(`${as("v2")},${as("v2beta1")},application/json`)).toBe("v2")
  expect(negotiateDiscovery(`${as("v3")},${as("v2beta1")},application/json`)).toBe("v2beta1")
  expect(negotiateDiscovery(`${as("v3")},application/json`)).toBeUndefined()
  expect(negotiateDiscovery(undefined)).toBeUndefined()
})
