// What kube-apiserver stored and answered: vectors/secrets.json and the recorded creates and updates of shared/transcripts.

import { readdirSync, readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { sharedPath } from "../../../tests/shared.ts"
import { decodeObject } from "../../format/codec.ts"
import { Secret } from "../../format/core.ts"
import type { KubeObject, ManagedFieldsEntry } from "../../format/object.ts"
import { decodeTyped } from "../request/decode.ts"
import { applyDefaults } from "../kinds/defaults.ts"
import { managerOf } from "../request/options.ts"
import { encodeFields } from "./field-set.ts"
import { withoutManagedFields } from "./ownership.ts"
import { schemaOf } from "./schema.ts"
import { trackCreate, trackUpdate } from "./track.ts"
import { fieldsOf as fieldsOfValue } from "./typed.ts"

const NOW = new Date("2026-11-23T21:00:00.999Z")

function secret(value: unknown): KubeObject {
  const { fields } = decodeTyped(Secret, { value, duplicates: new Map() })
  return applyDefaults({ kind: "Secret", apiVersion: "v1", ...fields } as unknown as KubeObject)
}

const fieldsOf = (object: KubeObject): string => JSON.stringify(object.metadata.managedFields)

const vectors: { case: string; request: unknown; createBody: string; storedBase64: string }[] =
  JSON.parse(readFileSync(sharedPath("vectors", "secrets.json"), "utf8")).secrets.filter(
    ({ createBody }: { createBody?: string }) => createBody !== undefined,
  )

test("there are vectors", () => expect(vectors.length).toBeGreaterThan(15))

test.each(vectors)("a created Secret is its creator's: $case", (vector) => {
  const created: KubeObject = JSON.parse(vector.createBody)
  const [entry] = created.metadata.managedFields ?? []
  const tracked = trackCreate({
    next: secret(vector.request),
    manager: "peer-vectors",
    now: new Date(entry?.time ?? ""),
  })
  expect(fieldsOf(tracked)).toBe(fieldsOf(created))
  const stored = decodeObject(Buffer.from(vector.storedBase64, "base64"))
  expect(fieldsOf(tracked)).toBe(fieldsOf(stored))
})

interface Exchange {
  method: string
  url: string
  reqHeaders: Record<string, string>
  reqBody: string | { base64: string }
  status: number
  respBody: string | { base64: string }
}

const KINDS = /^\/api\/v1\/(?:namespaces(?:\/[^/]+\/secrets)?|namespaces\/[^/]+\/secrets\/[^/]+)$/

function asObject(body: Exchange["respBody"], read = (value: unknown) => value as KubeObject) {
  if (typeof body !== "string") return decodeObject(Buffer.from(body.base64, "base64"))
  return body.startsWith("{") ? read(JSON.parse(body)) : undefined
}

/** Creates and PUTs that were answered with the object. */
function* writes(): Generator<[string, Exchange]> {
  for (const file of readdirSync(sharedPath("transcripts")).toSorted()) {
    if (!file.endsWith(".json")) continue
    const { http } = JSON.parse(readFileSync(sharedPath("transcripts", file), "utf8"))
    for (const exchange of http as Exchange[]) {
      const { pathname } = new URL(exchange.url, "https://localhost")
      const isWrite = exchange.method === "POST" || exchange.method === "PUT"
      const isJson = typeof exchange.reqBody === "string" ? exchange.reqBody.startsWith("{") : true
      const isKept = typeof exchange.reqBody === "string" || "base64" in exchange.reqBody
      if (isWrite && isJson && isKept && exchange.status < 300 && KINDS.test(pathname))
        yield [file.replace(".json", ""), exchange]
    }
  }
}

const recorded = [...writes()]

test("there are recorded writes of several kinds", () => {
  const urls = new Set(recorded.map(([, { method, url }]) => `${method} ${url.split("?")[0]}`))
  expect(recorded.length).toBeGreaterThan(15)
  expect(urls).toContain("POST /api/v1/namespaces")
})

test.each(recorded)("the recorded managedFields: %s", (_, exchange) => {
  const answered = asObject(exchange.respBody)
  const sent = asObject(exchange.reqBody, secret)
  if (answered === undefined || sent === undefined) throw new Error("not an object")
  const options = new URL(exchange.url, "https://localhost").searchParams
  const times = answered.metadata.managedFields?.map(({ time }) => time ?? "") ?? []
  const write = {
    next: applyDefaults(sent),
    manager: managerOf(
      { fieldManager: options.get("fieldManager") ?? "", dryRun: false, fieldValidation: "Warn" },
      exchange.reqHeaders["user-agent"],
    ),
    now: new Date(times.toSorted().at(-1) ?? ""),
  }
  const tracked =
    exchange.method === "POST" ? trackCreate(write) : trackUpdate({ ...write, live: before(sent) })
  expect(fieldsOf(tracked)).toBe(fieldsOf(answered))
})

/** What was stored before a PUT that sends stored managedFields back: those fields, under the values that it changes. */
function before(sent: KubeObject): KubeObject {
  return sent.data?.["rep" as never] === undefined ? sent : { ...sent, data: { nov: "eA==" } }
}

const live: KubeObject = {
  ...trackCreate({
    next: secret({ metadata: { name: "a", uid: "u", labels: { l: "1" } }, data: { a: "YQ==" } }),
    manager: "creator",
    now: NOW,
  }),
}
const update = (next: KubeObject, manager = "editor"): KubeObject =>
  trackUpdate({ live, next, manager, now: new Date("2026-11-23T22:00:00Z") })
const sending = (managedFields: ManagedFieldsEntry[]): KubeObject => ({
  ...live,
  metadata: { ...live.metadata, managedFields },
})

test("an update that changes nothing leaves managers and times", () => {
  expect(update(live)).toEqual(live)
})

test.each([[[]], [[{}]]])("a client clears managedFields with %j", (managedFields) => {
  expect(update(sending(managedFields)).metadata).not.toHaveProperty("managedFields")
})

test("managedFields that the client sent are taken where they can be read", () => {
  const sent: ManagedFieldsEntry = {
    manager: "mine",
    operation: "Apply",
    apiVersion: "v1",
    fieldsType: "FieldsV1",
    fieldsV1: { "f:data": { "f:a": {} } },
  }
  expect(update(sending([sent])).metadata.managedFields).toEqual([sent])
  for (const broken of [
    { ...sent, operation: "Delete" as "Apply" },
    { ...sent, apiVersion: "" },
    { ...sent, fieldsV1: { a: {} } },
    { ...sent, fieldsV1: { "k:{": {} } },
  ])
    expect(update(sending([broken]))).toEqual(live)
})

test("an object that nobody is tracked on stays so until it is applied", () => {
  const untracked = { ...live, metadata: withoutManagedFields(live.metadata) }
  const next = { ...untracked, data: { a: "Yg==" } }
  expect(trackUpdate({ live: untracked, next, manager: "x", now: NOW })).toEqual(next)
})

test("of more than ten updaters the oldest become one", () => {
  let object = live
  for (let i = 0; i < 14; i++) {
    const next = { ...object, data: { ...(object["data"] as object), [`k${i}`]: "YQ==" } }
    const now = new Date(NOW.getTime() + (i + 1) * 1000)
    object = trackUpdate({ live: object, next, manager: `m${i}`, now })
  }
  const entries = object.metadata.managedFields ?? []
  expect(entries.map(({ manager }) => manager)).toEqual([
    "ancient-changes",
    ...[5, 6, 7, 8, 9, 10, 11, 12, 13].map((i) => `m${i}`),
  ])
  expect(entries[0]?.time).toBe("2026-11-23T21:00:05Z")
  expect(entries[0]?.fieldsV1?.["f:type"]).toEqual({})
})

test("a node's status belongs to who writes the subresource", () => {
  const node: KubeObject = { kind: "Node", apiVersion: "v1", metadata: { name: "n", uid: "u" } }
  const full = {
    ...node,
    spec: { podCIDRs: ["10.0.0.0/24"], taints: [{ key: "a", effect: "NoSchedule" }] },
    status: {
      conditions: [{ type: "Ready", status: "True" }],
      nodeInfo: { architecture: "arm64" },
    },
  }
  const created = trackCreate({ next: full, manager: "kubelet", now: NOW })
  expect(created.metadata.managedFields?.[0]?.fieldsV1).toEqual({
    "f:spec": { "f:podCIDRs": { ".": {}, 'v:"10.0.0.0/24"': {} }, "f:taints": {} },
  })
  const next = { ...full, status: { ...full.status, nodeInfo: { architecture: "amd64" } } }
  const written = trackUpdate({
    live: created,
    next,
    manager: "kubelet",
    now: NOW,
    subresource: "status",
  })
  expect(written.metadata.managedFields?.at(1)).toEqual({
    manager: "kubelet",
    operation: "Update",
    apiVersion: "v1",
    time: "2026-11-23T21:00:00Z",
    fieldsType: "FieldsV1",
    fieldsV1: { "f:status": { "f:nodeInfo": { "f:architecture": {} } } },
    subresource: "status",
  })
})

test("an event's object is one field, and what Go shows of an empty event is nobody's", () => {
  const event: KubeObject = {
    kind: "Event",
    apiVersion: "v1",
    metadata: { name: "e" },
    involvedObject: { kind: "Node", name: "n" },
    reason: "R",
    firstTimestamp: "2026-11-23T21:00:00Z",
    lastTimestamp: null,
    eventTime: null,
    source: { component: "c" },
    reportingComponent: "",
    reportingInstance: "",
  }
  const { metadata } = trackCreate({ next: event, manager: "keyturn", now: NOW })
  expect(metadata.managedFields?.[0]?.fieldsV1).toEqual({
    "f:firstTimestamp": {},
    "f:involvedObject": {},
    "f:reason": {},
    "f:source": { "f:component": {} },
  })
})

test("items that are there twice are owned as a whole", () => {
  const condition = { type: "Ready", status: "True" }
  const node: KubeObject = {
    kind: "Node",
    apiVersion: "v1",
    metadata: { name: "n", uid: "u" },
    status: { conditions: [condition, condition] },
  }
  const item = 'k:{"type":"Ready"}'
  const set = fieldsOfValue(schemaOf(node).type, { status: node["status"] })
  expect(encodeFields(set)).toEqual({ "f:status": { "f:conditions": { [item]: {} } } })
})
