import { expect, test } from "vitest"
import { failureOf, messageOf } from "../../../tests/outcome.ts"
import { bytesOf, type Exchange, textOf, transcript } from "../../../tests/transcripts.ts"
import type { KubeObject } from "../../format/object.ts"
import { decodeBody } from "../request/body.ts"
import { mergePatch } from "../patch/merge-patch.ts"
import { prepareForCreate, prepareForUpdate, refuseResourceVersion } from "../verbs/prepare.ts"
import { EVENTS, NAMESPACES, NODES, SECRETS, type StoredResource } from "../kinds/resources.ts"
import { checkNames, validateCreate, validateUpdate } from "./validate.ts"

const NOW = new Date("2026-11-23T21:00:00Z")

const last = (number: string, method: string): Exchange => {
  const found = transcript(number).http.findLast((exchange) => exchange.method === method)
  if (found === undefined) throw new Error(`no ${method} in ${number}`)
  return found
}

const read = (body: string | Buffer, resource: StoredResource = SECRETS): KubeObject =>
  decodeBody(resource, Buffer.from(body), {
    mediaType: "application/json",
    fieldValidation: "Ignore",
  }).object

const create = (
  object: KubeObject,
  { resource = SECRETS, namespace = "tr" }: { resource?: StoredResource; namespace?: string } = {},
) => {
  const path = resource.namespaced ? { namespace } : {}
  checkNames(object, path)
  const prepared = prepareForCreate(resource, object, { ...path, now: NOW })
  validateCreate(resource, prepared)
  refuseResourceVersion(prepared)
  return prepared
}

const update = (
  object: KubeObject,
  old: KubeObject,
  more: { resource?: StoredResource; subresource?: string } = {},
) => {
  const { resource = SECRETS, subresource } = more
  checkNames(object, { name: old.metadata.name, namespace: old.metadata.namespace })
  const prepared = prepareForUpdate(resource, { object, old, subresource })
  validateUpdate(resource, { object: prepared, old, subresource })
  return prepared
}

test.each(["125", "126", "129", "131", "132", "140", "141", "143", "144", "147", "149", "153"])(
  "transcript %s is refused to the letter",
  (number) => {
    const { reqBody, respBody } = last(number, "POST")
    expect(failureOf(() => create(read(bytesOf(reqBody))))).toBe(respBody)
  },
)

test("transcript 146: annotations that are too big", () => {
  const annotations = { a: "x".repeat(256 * 1024) }
  const object = read(JSON.stringify({ metadata: { name: "kk", annotations } }))
  expect(failureOf(() => create(object))).toBe(last("146", "POST").respBody)
  expect(() =>
    create(
      read(
        JSON.stringify({
          metadata: { name: "kk", annotations: { a: "x".repeat(256 * 1024 - 1) } },
        }),
      ),
    ),
  ).not.toThrow()
})

test("transcript 128: a name of 253 letters, but not of 254", () => {
  const object = read(bytesOf(last("128", "POST").reqBody))
  expect(create(object).metadata.name).toBe("a".repeat(253))
  const longer = { ...object, metadata: { name: "a".repeat(254) } }
  expect(messageOf(() => create(longer))).toContain("must be no more than 253 ")
})

test("transcript 137: data of exactly 1 MiB, and not a byte more", () => {
  const ofBytes = (bytes: number) =>
    read(
      JSON.stringify({
        metadata: { name: "big" },
        data: { a: Buffer.alloc(bytes - 1).toString("base64"), b: "AA==" },
      }),
    )
  expect(() => create(ofBytes(1024 * 1024))).not.toThrow()
  expect(messageOf(() => create(ofBytes(1024 * 1024 + 1)))).toBe(
    'Secret "big" is invalid: data: Too long: may not be more than 1048576 bytes',
  )
})

/** The object that a transcript's GET shows, and what its merge patch makes of it. */
function patched(number: string, old: string) {
  const before = read(old)
  const after = mergePatch(before, JSON.parse(textOf(last(number, "PATCH").reqBody)))
  return { before, after: read(JSON.stringify(after)) }
}

test.each(["120", "123"])("transcript %s: an update is refused to the letter", (number) => {
  const { before, after } = patched(number, textOf(last(number, "GET").respBody))
  expect(failureOf(() => update(after, before))).toBe(last(number, "PATCH").respBody)
})

test("transcript 243: no finalizer is added to what is being deleted, and both rounds of checks say so", () => {
  const { before, after } = patched("243", textOf(last("242", "GET").respBody))
  expect(failureOf(() => update(after, before))).toBe(last("243", "PATCH").respBody)
})

test("transcript 111: a name that is not the path's", () => {
  const object = read(bytesOf(last("111", "PUT").reqBody))
  expect(failureOf(() => checkNames(object, { name: "lit", namespace: "tr" }))).toBe(
    last("111", "PUT").respBody,
  )
})

const secret = (fields: object): KubeObject =>
  read(JSON.stringify({ metadata: { name: "s" }, ...fields }))
const b64 = (text: string) => Buffer.from(text).toString("base64")

// biome-ignore format: a table
test.each([
  ["kubernetes.io/tls",              {},                        "[data[tls.crt]: Required value, data[tls.key]: Required value]"],
  ["kubernetes.io/tls",              { "tls.crt": "" },         "data[tls.key]: Required value"],
  ["kubernetes.io/basic-auth",       {},                        "[data[username]: Required value, data[password]: Required value]"],
  ["kubernetes.io/basic-auth",       { password: "" },          undefined],
  ["kubernetes.io/ssh-auth",         { "ssh-privatekey": "" },  "data[ssh-privatekey]: Required value"],
  ["kubernetes.io/dockercfg",        { ".dockercfg": b64("[]") }, 'data[.dockercfg]: Invalid value: "<secret contents redacted>": json: cannot unmarshal array into Go value of type map[string]interface {}'],
  ["kubernetes.io/dockercfg",        { ".dockercfg": b64("{}") }, undefined],
  ["kubernetes.io/dockerconfigjson", {},                        "data[.dockerconfigjson]: Required value"],
  ["bootstrap.kubernetes.io/token",  {},                        undefined],
  ["Opaque",                         {},                        undefined],
  ["constructor",                    {},                        undefined],
] as const)("the type %s with %j", (type, data, message) => {
  if (message === undefined) expect(() => create(secret({ type, data }))).not.toThrow()
  else expect(messageOf(() => create(secret({ type, data })))).toBe(`Secret "s" is invalid: ${message}`)
})

test("an immutable Secret", () => {
  const old = { ...create(secret({ immutable: true, data: { a: "eA==" } })) }
  old.metadata.resourceVersion = "7"
  const labels = { ...old, metadata: { ...old.metadata, labels: { a: "b" } } }
  expect(update(labels, old).metadata.labels).toEqual({ a: "b" })
  const { immutable, ...mutable }: KubeObject = { ...old, data: { a: "eA==", b: "" } }
  expect(messageOf(() => update(mutable, old))).toBe(
    'Secret "s" is invalid: [immutable: Forbidden: field is immutable when `immutable` is set, ' +
      "data: Forbidden: field is immutable when `immutable` is set]",
  )
})

test("what only the server may change is taken from what was", () => {
  const old = create(secret({}))
  const { uid, creationTimestamp } = old.metadata
  old.metadata = {
    ...old.metadata,
    resourceVersion: "7",
    deletionTimestamp: "2026-11-23T22:00:00Z",
    finalizers: ["a/b"],
  }
  const sent = secret({
    metadata: { name: "s", creationTimestamp: "2020-01-01T00:00:00Z", generation: 5 },
  })
  expect(update(sent, old).metadata).toEqual({
    name: "s",
    namespace: "tr",
    uid,
    resourceVersion: "7",
    creationTimestamp,
    deletionTimestamp: "2026-11-23T22:00:00Z",
  })
  expect(messageOf(() => update({ ...sent, metadata: { name: "s", uid: "other" } }, old))).toBe(
    'Secret "s" is invalid: metadata.uid: Invalid value: "other": field is immutable',
  )
})

test("labels, finalizers and managed fields keep their rules", () => {
  const labels = { "-x": "ok", ok: "no good", "a/b/c": "", ["x".repeat(64)]: "" }
  const message = messageOf(() =>
    create(
      secret({
        metadata: {
          name: "s",
          labels,
          finalizers: ["nobody", "orphan", "foregroundDeletion"],
          managedFields: [{ operation: "X", fieldsType: "Y" }],
        },
      }),
    ),
  )
  for (const part of [
    'metadata.labels: Invalid value: "-x": name part must consist of alphanumeric characters',
    'metadata.labels: Invalid value: "no good": a valid label must be an empty string',
    'metadata.labels: Invalid value: "a/b/c": a valid label key must consist of',
    "name part must be no more than 63 bytes",
    'metadata.finalizers[0]: Invalid value: "nobody": name is neither a standard finalizer name nor is it fully qualified',
    'metadata.finalizers: Invalid value: ["nobody","orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set',
    'metadata.managedFields[0].operation: Invalid value: "X": must be `Apply` or `Update`',
    'metadata.managedFields[0].fieldsType: Invalid value: "Y": must be `FieldsV1`',
  ])
    expect(message).toContain(part)
})

test("one owner at most is the controller", () => {
  const owner = (name: string) => ({
    apiVersion: "v1",
    kind: "X",
    name,
    uid: name,
    controller: true,
  })
  expect(
    messageOf(() =>
      create(secret({ metadata: { name: "s", ownerReferences: [owner("a"), owner("b")] } })),
    ),
  ).toContain('Found "true" in references for X/a and X/b')
})

test("a generated name is the prefix and five letters", () => {
  const { name } = create(secret({ metadata: { generateName: "gen-" } })).metadata
  expect(name).toMatch(/^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/)
  const long = create(secret({ metadata: { generateName: "x".repeat(80) } })).metadata.name
  expect(long).toHaveLength(63)
  expect(messageOf(() => create(secret({ metadata: { generateName: "Up-" } })))).toContain(
    "metadata.generateName: Invalid value",
  )
})

test("a new object is the server's: uid, time, and nothing of a deletion", () => {
  const metadata = {
    name: "s",
    uid: "mine",
    creationTimestamp: "2020-01-01T00:00:00Z",
    deletionTimestamp: "2020-01-01T00:00:00Z",
    deletionGracePeriodSeconds: 1,
  }
  const created = create(secret({ metadata })).metadata
  expect(created).toEqual({
    name: "s",
    namespace: "tr",
    uid: expect.stringMatching(/^[0-9a-f-]{36}$/),
    creationTimestamp: "2026-11-23T21:00:00Z",
  })
  expect(created.uid).not.toBe("mine")
})

test("a namespace", () => {
  const namespace = (metadata: object) => read(JSON.stringify({ metadata }), NAMESPACES)
  const made = create(namespace({ generateName: "n-" }), { resource: NAMESPACES })
  expect(made).toMatchObject({
    metadata: { labels: { "kubernetes.io/metadata.name": made.metadata.name } },
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  })
  expect(messageOf(() => create(namespace({ name: "a.b" }), { resource: NAMESPACES }))).toContain(
    'metadata.name: Invalid value: "a.b": must not contain dots',
  )
  expect(
    messageOf(() => create(namespace({ name: "a", namespace: "b" }), { resource: NAMESPACES })),
  ).toContain("does not match the namespace")
})

test("what each path of a namespace changes", () => {
  const old = create(read('{"metadata":{"name":"n"}}', NAMESPACES), { resource: NAMESPACES })
  old.metadata.resourceVersion = "7"
  const sent = { ...old, spec: { finalizers: [] }, status: { phase: "Active", conditions: [] } }
  const paths = [undefined, "finalize", "status"].map((subresource) => {
    const { spec, status } = update(sent, old, {
      resource: NAMESPACES,
      ...(subresource ? { subresource } : {}),
    })
    return { spec, status }
  })
  expect(paths).toEqual([
    { spec: old.spec, status: old.status },
    { spec: sent.spec, status: old.status },
    { spec: old.spec, status: sent.status },
  ])
  const ending = { ...sent, status: { phase: "Terminating" } }
  expect(
    messageOf(() => update(ending, old, { resource: NAMESPACES, subresource: "status" })),
  ).toBe(
    'Namespace "n" is invalid: status.Phase: Invalid value: "Terminating": ' +
      "may only be 'Active' if `deletionTimestamp` is empty",
  )
})

test("a node", () => {
  const node = (spec: object) => read(JSON.stringify({ metadata: { name: "n1" }, spec }), NODES)
  const taint = { key: "a", effect: "NoSchedule" }
  expect(() => create(node({ taints: [taint] }), { resource: NODES })).not.toThrow()
  expect(
    messageOf(() =>
      create(node({ taints: [taint, taint, { key: "a", effect: "X" }, { key: "" }] }), {
        resource: NODES,
      }),
    ),
  ).toContain(
    'spec.taints[1]: Duplicate value: {"key":"a","effect":"NoSchedule"}, ' +
      'spec.taints[2].effect: Unsupported value: "X": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"',
  )
  const old = create(node({ providerID: "p://1" }), { resource: NODES })
  old.metadata.resourceVersion = "7"
  expect(
    messageOf(() => update(node({ providerID: "p://2" }), old, { resource: NODES })),
  ).toContain(
    'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid',
  )
})

test("an event stands in the namespace of what it is about", () => {
  const event = (fields: object) =>
    read(JSON.stringify({ metadata: { name: "e" }, ...fields }), EVENTS)
  const make = (fields: object, namespace: string) =>
    create(event(fields), { resource: EVENTS, namespace })
  expect(() => make({ involvedObject: { namespace: "tr" } }, "tr")).not.toThrow()
  expect(() => make({ involvedObject: { kind: "Node" } }, "default")).not.toThrow()
  expect(messageOf(() => make({ involvedObject: { namespace: "x" } }, "tr"))).toBe(
    'Event "e" is invalid: involvedObject.namespace: Invalid value: "x": does not match event.namespace',
  )
  const eventTime = "2026-11-23T21:00:00.000000Z"
  expect(
    messageOf(() =>
      make({ involvedObject: { namespace: "tr" }, eventTime, reportingComponent: "a b" }, "tr"),
    ),
  ).toMatch(
    /reportingComponent: Invalid value: "a b".*reportingInstance: Required value, action: Required value, reason: Required value/,
  )
})
