import { expect, test } from "vitest"
import { textOf, transcript } from "../../../tests/transcripts.ts"
import { RESOURCES, rootPathOf, STORED_RESOURCES } from "../kinds/resources.ts"
import { OPENAPI_DOCUMENTS, OPENAPI_INDEX, openApiV2 } from "./document.ts"

type Json = Record<string, unknown>

const documents = [...OPENAPI_DOCUMENTS].map(([path, { body }]) => ({
  path,
  document: JSON.parse(body),
}))
const core = JSON.parse(OPENAPI_DOCUMENTS.get("api/v1")?.body ?? "")

test("transcript 009: the index names each document by its hash", () => {
  const { respHeaders, respBody } = transcript("009").http[0] ?? { respHeaders: {}, respBody: "" }
  const recorded = JSON.parse(textOf(respBody)).paths
  const { paths } = JSON.parse(OPENAPI_INDEX.body)
  expect(OPENAPI_INDEX.contentType).toBe({ ...respHeaders }["content-type"])
  expect(Object.keys(paths)).toEqual([...new Set(RESOURCES.map((r) => rootPathOf(r).slice(1)))])
  for (const [path, { serverRelativeURL }] of Object.entries<{ serverRelativeURL: string }>(
    paths,
  )) {
    const shape = (url: string) => url.replace(/[0-9A-F]{128}$/, "HASH")
    expect(shape(serverRelativeURL)).toBe(shape(recorded[path].serverRelativeURL))
    expect(serverRelativeURL).toContain(OPENAPI_DOCUMENTS.get(path)?.etag.slice(1, -1))
  }
})

test.each(documents)("$path refers only to what it has", ({ document }) => {
  const refs = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)]
  const schemas = Object.keys(document.components.schemas)
  expect(refs.length).toBeGreaterThan(5)
  for (const [, name] of refs) expect(schemas).toContain(name)
})

test.each(STORED_RESOURCES)(
  "$plural: every write takes fieldValidation, as kubectl asks",
  (resource) => {
    const operations = Object.values<Json>(core.paths)
      .flatMap((path) => Object.entries(path))
      .filter(([method]) => ["post", "put", "patch"].includes(method))
      .map(([, operation]) => operation as Json & { parameters: Json[] })
      .filter(
        (operation) =>
          (operation["x-kubernetes-group-version-kind"] as Json).kind === resource.kind,
      )
    expect(operations.length).toBeGreaterThanOrEqual(3)
    for (const { parameters } of operations)
      expect(parameters.map(({ name }) => name)).toEqual(
        expect.arrayContaining(["fieldValidation", "dryRun", "fieldManager"]),
      )
  },
)

test("each kind has one schema that says so", () => {
  const kinds = Object.values<Json>(core.components.schemas).flatMap(
    (schema) => (schema["x-kubernetes-group-version-kind"] ?? []) as Json[],
  )
  const wanted = STORED_RESOURCES.flatMap(({ kind, listKind }) => [kind, listKind])
  expect(kinds.map(({ kind }) => String(kind)).toSorted()).toEqual(
    [...wanted, "Status", "DeleteOptions"].toSorted(),
  )
})

test("lists that are merged say by what", () => {
  const meta = core.components.schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].properties
  expect(meta.ownerReferences).toMatchObject({
    "x-kubernetes-patch-strategy": "merge",
    "x-kubernetes-patch-merge-key": "uid",
  })
  expect(meta.finalizers).toMatchObject({ "x-kubernetes-patch-strategy": "merge" })
  const status = core.components.schemas["io.k8s.api.core.v1.NodeStatus"].properties
  expect(status.conditions["x-kubernetes-patch-merge-key"]).toBe("type")
  expect(status.images["x-kubernetes-list-type"]).toBe("atomic")
})

test("OpenAPI v2 is whole and defines nothing, in JSON and in the bytes of gnostic's Document", () => {
  const info = { title: "Kubernetes", version: "v1.36.2" }
  expect(JSON.parse(openApiV2("application/json").body)).toEqual({
    swagger: "2.0",
    info,
    paths: {},
  })
  const { body } = openApiV2("application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
  expect(Buffer.from(body).toString("latin1")).toBe(
    "\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.36.2",
  )
})
