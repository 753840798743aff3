import { expect, test } from "vitest"
import { failureOf, messageOf } from "../../../tests/outcome.ts"
import { transcript } from "../../../tests/transcripts.ts"
import { parseFieldSelector } from "./field-selector.ts"
import { EVENTS, NAMESPACES, NODES, SECRETS } from "../kinds/resources.ts"

test("transcript 056 to the letter", () => {
  const { url = "", respBody = "" } = transcript("056").http[0] ?? {}
  const selector = new URL(url, "http://x").searchParams.get("fieldSelector") ?? ""
  expect(failureOf(() => parseFieldSelector(SECRETS, selector))).toBe(respBody)
})

const of = (fields: object) => ({
  kind: "X",
  apiVersion: "v1",
  metadata: { name: "a", namespace: "n" },
  ...fields,
})

const event = of({
  involvedObject: { kind: "Secret", name: "s", namespace: "n" },
  reason: "Turned",
  source: { component: "keyturn" },
  reportingComponent: "",
  type: "Normal",
})

// biome-ignore format: a table
test.each([
  [SECRETS,    "metadata.name=a,type=Opaque",             of({ type: "Opaque" }), true],
  [SECRETS,    "metadata.name!=a",                        of({}), false],
  [SECRETS,    "metadata.namespace==n",                   of({}), true],
  [SECRETS,    "type=a\\,b\\=c\\\\",                      of({ type: "a,b=c\\" }), true],
  [SECRETS,    "type=",                                   of({}), true],
  [NODES,      "spec.unschedulable=false",                of({ spec: {} }), true],
  [NODES,      "spec.unschedulable=true",                 of({ spec: { unschedulable: true } }), true],
  [NAMESPACES, "status.phase=Active",                     of({ status: { phase: "Active" } }), true],
  [EVENTS,     "involvedObject.kind=Secret,reason!=Made", event, true],
  [EVENTS,     "source=keyturn,reportingComponent=",      event, true],
  [EVENTS,     "involvedObject.uid=x",                    event, false],
])("%s %s", (resource, text, object, matches) => {
  expect(parseFieldSelector(resource, text).matches(object)).toBe(matches)
})

test("a selector of one name says it", () => {
  expect(parseFieldSelector(SECRETS, "type=x,metadata.name=a").name).toBe("a")
  expect(parseFieldSelector(SECRETS, "metadata.name!=a").name).toBeUndefined()
  expect(parseFieldSelector(SECRETS, "").empty).toBe(true)
})

// biome-ignore format: a table
test.each([
  ["metadata.name",        "invalid selector: 'metadata.name'; can't understand 'metadata.name'"],
  ["type=a=b",             "invalid field selector: unescaped character in value: 61"],
  ["type=a\\b",            "invalid field selector: invalid escape sequence: \\b"],
  ["type=a\\",             "invalid field selector: invalid escape sequence: \\"],
  ["toString=x",           "field label not supported: toString"],
])("%j is refused", (text, message) => {
  expect(messageOf(() => parseFieldSelector(SECRETS, text))).toBe(message)
})
