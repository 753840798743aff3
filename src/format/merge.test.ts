import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { decodeObject, encodeObject } from "./codec.ts"
import { Node } from "./core.ts"
import { envelope } from "./meta.ts"
import { bytes, int64, string } from "./scalars.ts"
import { type Field, type FieldType, isMessage, list, type Message, message } from "./schema.ts"
import { Writer } from "./wire.ts"

/** Tomorrow's Node: every message of today's, at every depth, has three fields more. */
function tomorrow(type: Message): Message {
  const rowOf = ({ number, name, type: held, shape, rule }: Field) => {
    const of: FieldType = isMessage(held) ? tomorrow(held) : held
    return [number, name, shape === "single" ? of : { of, shape }, rule] as const
  }
  return message(type.name, [
    ...type.fields.map(rowOf),
    [90, "newText", string, "set"],
    [91, "newNumber", int64, "set"],
    [92, "newList", list(bytes), "set"],
  ])
}

const NewNode = tomorrow(Node)
const MAGIC = Buffer.from("k8s\0")
const NEW = { newText: "t", newNumber: -5, newList: ["AQ==", "Ag=="] }

/** As a newer server stores it. */
function encodeNew(raw: object): Buffer {
  const writer = new Writer()
  writer.start()
  envelope(NewNode).encode(writer, { typeMeta: { apiVersion: "v1", kind: "Node" }, raw }, "Node")
  return Buffer.concat([MAGIC, writer.finish()])
}

const condition = (type: string, more: object = {}) => ({
  type,
  status: "True",
  lastHeartbeatTime: "2026-11-23T20:43:18Z",
  lastTransitionTime: null,
  ...more,
})

const node = {
  kind: "Node",
  apiVersion: "v1",
  metadata: {
    name: "n1",
    labels: { a: "1" },
    managedFields: [{ manager: "k3s", fieldsV1: { "f:status": {} }, ...NEW }],
    ...NEW,
  },
  spec: {
    podCIDRs: ["10.42.0.0/24"],
    taints: [{ key: "k", effect: "NoSchedule", ...NEW }],
    ...NEW,
  },
  status: {
    capacity: { cpu: "2", memory: "4Ki" },
    conditions: [condition("Ready", NEW), condition("Other", NEW)],
    nodeInfo: { machineID: "m", swap: { capacity: 1, ...NEW }, ...NEW },
    ...NEW,
  },
  ...NEW,
}

const stored = encodeNew(node)
const again = (change: (object: typeof node) => void): Buffer => {
  const object = decodeObject(stored) as unknown as typeof node
  change(object)
  return encodeObject(object, { unknownFrom: stored })
}
const expected = (change: (object: typeof node) => void): Buffer => {
  const object = structuredClone(node)
  change(object)
  return encodeNew(object)
}

describe("a newer server's Node", () => {
  test("is not read with its new fields, and would lose them", () => {
    expect(JSON.stringify(decodeObject(stored))).not.toContain("newText")
    expect(encodeObject(decodeObject(stored)).length).toBeLessThan(stored.length)
  })

  test("keeps all its bytes when nothing changed", () => {
    expect(again(() => {})).toEqual(stored)
  })

  // biome-ignore format: a table
  const changes: readonly (readonly [string, (object: typeof node) => void])[] = [
    ["a label", (o) => { Object.assign(o.metadata.labels, { b: "2" }) }],
    ["the first annotation", (o) => { Object.assign(o.metadata, { annotations: { "keyturn.io/encryption-config-hash": "start-00" } }) }],
    ["all labels gone", (o) => { Object.assign(o.metadata, { labels: {} }) }],
    ["a condition added", (o) => { o.status.conditions.push(condition("EncryptionKeys")) }],
    ["a condition gone", (o) => { o.status.conditions.shift() }],
    ["a value deep inside", (o) => { o.status.nodeInfo.swap.capacity = 7 }],
    ["a value field emptied", (o) => { o.status.nodeInfo.machineID = "" }],
    ["a list emptied", (o) => { o.spec.podCIDRs = [] }],
    ["unschedulable", (o) => { Object.assign(o.spec, { unschedulable: true }) }],
  ]

  test.each(changes)("with %s differs in that alone", (_, change) => {
    expect(again(change)).toEqual(expected(change))
    expect(again(change)).not.toEqual(stored)
  })

  test("an element of a list that changed is written anew", () => {
    const change = (object: typeof node) => {
      Object.assign(object.status.conditions[0] ?? {}, { status: "False" })
    }
    const written = expected((object) => {
      object.status.conditions[0] = condition("Ready", { status: "False" })
    })
    expect(again(change)).toEqual(written)
  })

  test("a message that is taken away takes its new fields along", () => {
    const change = (object: typeof node) =>
      void Reflect.deleteProperty(object.status.nodeInfo, "swap")
    expect(again(change)).toEqual(expected(change))
  })
})

test("what another writer left out or wrote otherwise stays, where it did not change", () => {
  const tagged = (tag: number[], body: string | Buffer) =>
    Buffer.concat([Buffer.from([...tag, body.length]), Buffer.from(body)])
  const written = (labels: Buffer) => {
    const managed = tagged([0x8a, 0x01], tagged([0x3a], tagged([0x0a], '{"a": 1}')))
    const metadata = tagged([0x0a], Buffer.concat([tagged([0x0a], "n"), labels, managed]))
    const data = tagged([0x12], tagged([0x0a], "k"))
    const type = tagged([0x0a], Buffer.concat([tagged([0x0a], "v1"), tagged([0x12], "Secret")]))
    return Buffer.concat([MAGIC, type, tagged([0x12], Buffer.concat([metadata, data]))])
  }
  const old = written(Buffer.alloc(0))
  const object = decodeObject(old)
  expect(encodeObject(object, { unknownFrom: old })).toEqual(old)
  object.metadata.labels = { a: "b" }
  const label = tagged([0x5a], Buffer.concat([tagged([0x0a], "a"), tagged([0x12], "b")]))
  expect(encodeObject(object, { unknownFrom: old })).toEqual(written(label))
})

test("whatever the old value is, what is written reads as the new one", () => {
  const labels = fc.dictionary(fc.string(), fc.string())
  const secrets = fc.record({
    name: fc.string(),
    labels,
    data: fc.dictionary(fc.string(), fc.base64String()),
    type: fc.string(),
  })
  const objectOf = ({
    name,
    labels,
    data,
    type,
  }: {
    name: string
    labels: object
    data: object
    type: string
  }) => ({
    kind: "Secret",
    apiVersion: "v1",
    metadata: { name, labels },
    data,
    type,
  })
  fc.assert(
    fc.property(secrets, secrets, (one, other) => {
      const old = encodeObject(objectOf(one))
      const fresh = encodeObject(objectOf(other))
      expect(encodeObject(objectOf(other), { unknownFrom: old })).toEqual(fresh)
      const extra = Buffer.concat([old.subarray(0, -4), Buffer.from("1a002200f80601", "hex")])
      const merged = encodeObject(objectOf(other), { unknownFrom: extra })
      expect(merged).toEqual(Buffer.concat([fresh, Buffer.from("f80601", "hex")]))
    }),
  )
})
