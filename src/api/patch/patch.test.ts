// Replays what kube-apiserver was asked and answered: shared/transcripts, each PATCH upon the object as last answered.

import { expect, test } from "vitest"
import {
  bytesOf,
  type Exchange,
  textOf,
  transcript,
  transcripts,
} from "../../../tests/transcripts.ts"
import { withoutValues } from "../../../tests/transcripts/differences.ts"
import { decodeObject } from "../../format/codec.ts"
import { Secret } from "../../format/core.ts"
import type { KubeObject } from "../../format/object.ts"
import { decodeTyped } from "../request/decode.ts"
import { applyDefaults } from "../kinds/defaults.ts"
import { managerOf, patchOptions } from "../request/options.ts"
import { StatusError } from "../status.ts"
import { type Decoded, PATCH_TYPES, type PatchRequest, patchObject } from "./patch.ts"

function decodeSecret(value: unknown): Decoded {
  const { fields, problems } = decodeTyped(Secret, { value, duplicates: new Map() })
  const object = { kind: "Secret", apiVersion: "v1", ...fields } as unknown as KubeObject
  return { object: applyDefaults(object), problems }
}

function asObject(body: Exchange["respBody"] | Exchange["reqBody"]): KubeObject | undefined {
  if (typeof body !== "string") return decodeObject(bytesOf(body))
  return body.startsWith('{"kind":"Secret"') ? JSON.parse(body) : undefined
}

/** Each PATCH of a Secret with the object that was stored before it. */
function* patches(): Generator<[string, Exchange, KubeObject | undefined]> {
  const stored = new Map<string, KubeObject>()
  for (const { name: file, http } of transcripts()) {
    for (const exchange of http) {
      const { pathname, searchParams } = new URL(exchange.url, "https://localhost")
      if (!pathname.includes("/secrets")) continue
      // An empty patch changes nothing: what it answers is what was stored.
      const live = exchange.reqBody === "{}" ? seenIn(exchange) : stored.get(pathname)
      if (file.startsWith("071")) yield ["071-after-070", exchange, live && unrecorded070(live)]
      else if (exchange.method === "PATCH") yield [file, exchange, live]
      const isRead = exchange.method === "GET" || !searchParams.has("dryRun")
      const seen = isRead ? seenIn(exchange) : undefined
      if (seen?.kind !== "Secret") continue
      const path = pathname.endsWith("/secrets") ? `${pathname}/${seen.metadata.name}` : pathname
      stored.set(path, seen)
    }
  }
}

/** 070 was not recorded: the apply that 069 refused, with force. */
function unrecorded070(live: KubeObject): KubeObject | undefined {
  const [refused] = transcript("069").http.slice(-1)
  if (refused === undefined) return undefined
  return run({ ...refused, url: refused.url.replace("force=false", "force=true") }, live).object
}

function seenIn({ respBody, status }: Exchange): KubeObject | undefined {
  try {
    return status < 300 ? asObject(respBody) : undefined
  } catch {
    return undefined
  }
}

/** Refused by routing, the store's compare-and-swap, validation or decryption, not by the patch. */
const ELSEWHERE = new Set(["092", "102", "120", "123", "243", "266", "303"])

/** The time is the clock's; the recorded one is taken where the entry's time is that of the request. */
function run(exchange: Exchange, live: KubeObject | undefined) {
  const { pathname, searchParams } = new URL(exchange.url, "https://localhost")
  const [, , , , namespace = "", , name = ""] = pathname.split("/")
  const recorded = seenIn(exchange)?.metadata.managedFields?.map(({ time }) => time ?? "") ?? []
  const now = new Date(recorded.toSorted().at(-1) || "2026-11-23T20:59:59Z")
  const mediaType = exchange.reqHeaders["content-type"] ?? ""
  const options = patchOptions(searchParams, { isApply: mediaType.startsWith("application/apply") })
  return patchObject({
    mediaType,
    body: textOf(exchange.reqBody),
    live,
    target: { resource: "secrets", apiVersion: "v1", kind: "Secret", namespace, name },
    ...options,
    manager: managerOf(options, exchange.reqHeaders["user-agent"]),
    now,
    decode: decodeSecret,
  })
}

const cases = [...patches()]

test("the transcripts have patches of every type", () => {
  const types = new Set(cases.map(([, { reqHeaders }]) => reqHeaders["content-type"]))
  expect(PATCH_TYPES.filter((type) => !types.has(type))).toEqual([])
  expect(cases.length).toBeGreaterThan(30)
})

test.each(cases.filter(([file]) => !ELSEWHERE.has(file.slice(0, 3))))("%s", (_, exchange, live) => {
  let answer: unknown
  try {
    answer = run(exchange, live).object
  } catch (error) {
    if (!(error instanceof StatusError)) throw error
    answer = error.toStatus()
  }
  const recorded = textOf(exchange.respBody)
  const expected = JSON.parse(exchange.status < 400 ? recorded : withoutValues(recorded))
  expect(unstored(answer)).toBe(unstored(expected))
})

/** As text, so that order counts, without what the store gives. */
function unstored(object: unknown): string {
  const isStored = (key: string) => ["uid", "resourceVersion", "creationTimestamp"].includes(key)
  return JSON.stringify(object, (key, value) => (isStored(key) ? undefined : value), 1)
}

const LIVE = decodeSecret({
  metadata: { name: "a", namespace: "n", uid: "u" },
  data: { a: "YQ==" },
}).object

const ask = (mediaType: string, body: unknown, more: Partial<PatchRequest> = {}) =>
  patchObject({
    mediaType: `application/${mediaType}`,
    body: typeof body === "string" ? body : JSON.stringify(body),
    live: LIVE,
    target: { resource: "secrets", apiVersion: "v1", kind: "Secret", namespace: "n", name: "a" },
    manager: "m",
    force: false,
    fieldValidation: "Warn",
    now: new Date(0),
    decode: decodeSecret,
    ...more,
  })

function refusal(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof StatusError) return `${error.code} ${error.message}`
    throw error
  }
  return "none"
}

const JSON_PATCH = "json-patch+json"
const MERGE = "merge-patch+json"
const STRATEGIC = "strategic-merge-patch+json"
const APPLY = "apply-patch+yaml"
const APPLIED = { apiVersion: "v1", kind: "Secret", metadata: { name: "a" } }
const notAMap = "json: cannot unmarshal array into Go value of type map[string]interface {}"

// biome-ignore format: a table
const REFUSED: [string, unknown, string, Partial<PatchRequest>?][] = [
  ["json", {}, `415 the body of the request was in an unknown format - accepted media types include: ${PATCH_TYPES.join(", ")}`],
  [MERGE, {}, '404 secrets "a" not found', { live: undefined }],
  [MERGE, [], `400 error decoding patch: ${notAMap}`],
  [MERGE, "null", "400 Invalid JSON Patch"],
  [MERGE, "{", "400 Invalid JSON Patch", { fieldValidation: "Ignore" }],
  [MERGE, { metadata: { name: "b" } }, "400 the name of the object (b) does not match the name on the URL (a)"],
  [MERGE, { metadata: { namespace: "b" } }, "400 the namespace of the provided object does not match the namespace sent on the request"],
  [STRATEGIC, [], `400 ${notAMap}`],
  [STRATEGIC, "{", "400 unexpected end of JSON input"],
  [STRATEGIC, { foo: [1, null] }, '422  "" is invalid: patch: Invalid value: "map[foo:***]": strict decoding error: unknown field "foo"', { fieldValidation: "Strict" }],
  [STRATEGIC, '{"data":{"a":"YQ==","a":"YQ=="}}', '422  "" is invalid: patch: Invalid value: "map[data:map[a:***]]": strict decoding error: duplicate field "data.a"', { fieldValidation: "Strict" }],
  [JSON_PATCH, [1], "400 error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"],
  [JSON_PATCH, [{ op: 1 }], "400 error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string"],
  [JSON_PATCH, {}, "400 json: cannot unmarshal object into Go value of type jsonpatch.Patch", { fieldValidation: "Ignore" }],
  [JSON_PATCH, Array.from({ length: 10_001 }, () => ({})), "413 Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"],
  [APPLY, { ...APPLIED, metadata: { name: "a", uid: "x" } }, '409 Operation cannot be fulfilled on secrets "a": uid mismatch: the provided object specified uid x, and no existing object was found', { live: undefined }],
  [APPLY, "a: [", "400 error decoding patch: error converting YAML to JSON: yaml: line"],
]

test("a patch that is refused shows no value that may be secret", () => {
  const secret = "aGlkZGVu"
  const metadata = {
    annotations: { "kubectl.kubernetes.io/last-applied-configuration": secret, shown: "shown" },
  }
  const patch = { metadata, data: { a: `${secret}!` }, stringData: secret, dta: { b: secret } }
  for (const mediaType of [MERGE, STRATEGIC]) {
    const message = refusal(() => ask(mediaType, patch))
    expect(message).toMatch(/^422 .*shown.*illegal base64 data/)
    expect(message).not.toContain(secret)
  }
})

test.each(REFUSED)("a patch is refused: %s %j", (mediaType, body, expected, more) => {
  expect(refusal(() => ask(mediaType, body, more))).toContain(expected)
})

// biome-ignore format: a table
test.each<[string, unknown, string[]]>([
  [MERGE, { foo: 1 }, ['unknown field "foo"']],
  [MERGE, '{"data":{"b":"YQ==","b":"YQ=="}}', ['duplicate field "data.b"']],
  [JSON_PATCH, [{ op: "test", path: "/kind", value: "Secret", x: 1 }], ['json patch unknown field "[0].x"']],
  [JSON_PATCH, '[{"op":"test","path":"/kind","path":"/kind","value":"Secret"}]', ['json patch duplicate field "[0].path"']],
  [APPLY, JSON.stringify(APPLIED).replace("{", '{"kind":"x",'), ['error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: key "kind" already set in map']],
  [APPLY, "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nkind: Secret\n", ['error converting YAML to JSON: yaml: unmarshal errors:\n  line 4: key "kind" already set in map']],
])("%s warns of what a strict reader refuses: %j", (mediaType, body, warnings) => {
  expect(ask(mediaType, body).warnings).toEqual(warnings)
  expect(ask(mediaType, body, { fieldValidation: "Ignore" }).warnings).toEqual([])
  expect(refusal(() => ask(mediaType, body, { fieldValidation: "Strict" }))).toMatch(/^4/)
})

test("an apply in YAML creates the object under its URL", () => {
  const body = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: v}\n"
  const { object } = ask(APPLY, body, { live: undefined })
  expect(object).toMatchObject({ metadata: { name: "a", namespace: "n" }, data: { k: "dg==" } })
})
