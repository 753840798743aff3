import { expect, test } from "vitest"
import { textOf, transcript } from "../../../tests/transcripts.ts"
import * as discovery from "./discovery.ts"
import { RESOURCES } from "./resources.ts"

const recorded = (number: string, index = 0) =>
  textOf(transcript(number).http[index]?.respBody ?? "")

const served = (name: string) => RESOURCES.some(({ plural }) => plural === name.split("/")[0])

/** kube-apiserver's answer with what is not served here taken out; a Node's proxy is not. */
function servedOnly(body: string): unknown {
  return JSON.parse(body, (key, value) => {
    if (key === "resources")
      return value.filter(({ name, resource }: Record<string, string>) => {
        const plural = name ?? resource ?? ""
        return served(plural) && plural !== "nodes/proxy"
      })
    if (key === "subresources")
      return value.filter(({ subresource }: Record<string, string>) => subresource !== "proxy")
    if (key === "items" || key === "groups")
      return value.filter(({ name, metadata }: { name?: string; metadata?: { name?: string } }) =>
        metadata?.name === undefined && name === undefined
          ? true
          : ["authentication.k8s.io", "authorization.k8s.io"].includes(
              name ?? metadata?.name ?? "",
            ),
      )
    return value
  })
}

const byName = (list: { groups?: unknown[]; items?: unknown[] }) =>
  JSON.parse(JSON.stringify(list), (key, value) =>
    key === "groups" || key === "items"
      ? value.toSorted((a: object, b: object) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
      : value,
  )

test.each([
  ["005", discovery.apiVersions("127.0.0.1:16443")],
  ["006", discovery.apiResourceList("v1")],
])("transcript %s to the letter, but for what is not served", (number, document) => {
  expect(document?.body).toBe(`${JSON.stringify(servedOnly(recorded(number)))}\n`)
})

test("transcript 007: the groups, in the order of their names", () => {
  expect(byName(JSON.parse(discovery.apiGroupList.body))).toEqual(
    byName(servedOnly(recorded("007")) as object),
  )
})

test.each([
  ["004", 0, { core: true, version: "v2" as const }],
  ["002", 1, { core: false, version: "v2" as const }],
])("transcript %s: aggregated discovery, but for what is not served", (number, index, of) => {
  const document = discovery.aggregatedDiscovery(of)
  expect(byName(JSON.parse(document.body))).toEqual(
    byName(servedOnly(recorded(number, index)) as object),
  )
  expect(document.contentType).toBe(transcript(number).http[index]?.respHeaders["content-type"])
})

test("transcript 008: the version has the same fields, and the same API version", () => {
  const build = {
    version: "0.1.0",
    commit: "abc",
    date: "2026-11-23T00:00:00Z",
    runtime: "v26",
    platform: "linux/amd64",
  }
  const { body } = discovery.versionDocument(build)
  const theirs = recorded("008")
  expect(body.match(/"\w+":/g)).toEqual(theirs.match(/"\w+":/g))
  const { major, minor, minCompatibilityMinor } = JSON.parse(theirs)
  expect(JSON.parse(body)).toMatchObject({ major, minor, minCompatibilityMinor })
  expect(JSON.parse(body).gitVersion).toMatch(/^v1\.36\.2\+[0-9A-Za-z.-]+$/)
})

test("a document is unchanged for who names its etag, and only then", () => {
  const { etag } = discovery.apiGroupList
  const is = (header: string | undefined) => discovery.isUnchanged(discovery.apiGroupList, header)
  expect([is(etag), is(`"x", W/${etag}`), is("*")]).toEqual([true, true, true])
  expect([is(undefined), is('"x"'), is(etag.slice(1, -1))]).toEqual([false, false, false])
})

test("what is not served is not there", () => {
  expect(discovery.apiGroup("apps")).toBeUndefined()
  expect(discovery.apiResourceList("apps/v1")).toBeUndefined()
  expect(JSON.parse(discovery.apiGroup("authorization.k8s.io")?.body ?? "").kind).toBe("APIGroup")
})

test("each answer is made once", () => {
  const v2 = { core: false, version: "v2" } as const
  expect(discovery.aggregatedDiscovery(v2)).toBe(discovery.aggregatedDiscovery({ ...v2 }))
  expect(discovery.apiResourceList("v1")).toBe(discovery.apiResourceList("v1"))
  const [group = ""] = RESOURCES.flatMap((resource) => resource.group || [])
  expect(discovery.apiGroup(group)).toBe(discovery.apiGroup(group))
  for (const name of ["", "constructor", "example.com"]) {
    expect(discovery.apiGroup(name)).toBeUndefined()
    expect(discovery.apiResourceList(name)).toBeUndefined()
  }
})
