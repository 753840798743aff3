import { expect, test } from "vitest"
import { textOf, transcript, transcripts } from "../../../tests/transcripts.ts"
import type { KubeObject } from "../../format/object.ts"
import { ageOf, humanDuration } from "../text/human-duration.ts"
import { EVENTS, NAMESPACES, NODES, SECRETS } from "../kinds/resources.ts"
import { toPartialList, toTable } from "./table.ts"

const NOW = new Date("2026-11-23T21:00:00Z")
const options = { version: "v1", includeObject: "Metadata", now: NOW } as const

test("every recorded Table has our columns", () => {
  const tables = transcripts().flatMap(({ http }) =>
    http.flatMap(({ respBody, url }) =>
      typeof respBody === "string" && respBody.startsWith('{"kind":"Table"')
        ? [
            {
              table: JSON.parse(respBody),
              resource: url.includes("/secrets") ? SECRETS : NAMESPACES,
            },
          ]
        : [],
    ),
  )
  expect(tables.length).toBeGreaterThan(10)
  for (const { table, resource } of tables) {
    const ours = toTable(resource, { items: [], metadata: table.metadata }, options)
    expect({ ...ours, rows: table.rows }).toEqual(table)
  }
})

test("transcript 209: a watch tells its columns once", () => {
  const [, second] = textOf(transcript("209").http[0]?.respBody ?? "").split("\n")
  const { object } = JSON.parse(second ?? "")
  const table = toTable(
    SECRETS,
    { items: [], metadata: object.metadata },
    { ...options, withColumns: false },
  )
  expect({ ...table, rows: object.rows }).toEqual(object)
})

const rowsOf = (resource: typeof SECRETS, object: KubeObject) =>
  toTable(resource, { items: [object], metadata: {} }, options)

/** Column names with the cells of one row; those of -o wide behind a +. */
function shown(resource: typeof SECRETS, object: KubeObject) {
  const { columnDefinitions, rows } = rowsOf(resource, object)
  return Object.fromEntries(
    (columnDefinitions ?? []).map(({ name, priority }, index) => [
      `${priority === 1 ? "+" : ""}${name}`,
      rows[0]?.cells[index],
    ]),
  )
}

test("a node", () => {
  const node = {
    kind: "Node",
    apiVersion: "v1",
    metadata: {
      name: "n1",
      creationTimestamp: "2026-11-23T20:00:00Z",
      labels: {
        "node-role.kubernetes.io/master": "",
        "node-role.kubernetes.io/etcd": "true",
        "kubernetes.io/role": "x",
      },
    },
    spec: { unschedulable: true },
    status: {
      conditions: [{ type: "Ready", status: "True" }],
      addresses: [{ type: "InternalIP", address: "10.0.0.1" }],
      nodeInfo: { kubeletVersion: "v1.36.2", osImage: "Debian" },
    },
  }
  expect(shown(NODES, node)).toEqual({
    Name: "n1",
    Status: "Ready,SchedulingDisabled",
    Roles: "etcd,master,x",
    Age: "60m",
    Version: "v1.36.2",
    "+Internal-IP": "10.0.0.1",
    "+External-IP": "<none>",
    "+OS-Image": "Debian",
    "+Kernel-Version": "<unknown>",
    "+Container-Runtime": "<unknown>",
  })
  const bare = { kind: "Node", apiVersion: "v1", metadata: { name: "n2" } }
  expect(shown(NODES, bare)).toMatchObject({
    Status: "Unknown",
    Roles: "<none>",
    Age: "<unknown>",
    Version: "",
  })
})

test("an event", () => {
  const event = {
    kind: "Event",
    apiVersion: "v1",
    metadata: { name: "e1" },
    involvedObject: { kind: "Secret", name: "s", fieldPath: "data.a" },
    reason: "Turned",
    message: " done\n",
    type: "Normal",
    source: { component: "keyturn", host: "n1" },
    firstTimestamp: "2026-11-23T20:50:00Z",
    lastTimestamp: "2026-11-23T20:59:30Z",
  }
  expect(shown(EVENTS, event)).toEqual({
    "Last Seen": "30s",
    Type: "Normal",
    Reason: "Turned",
    Object: "secret/s",
    "+Subobject": "data.a",
    "+Source": "keyturn, n1",
    Message: "done",
    "+First Seen": "10m",
    "+Count": 1,
    "+Name": "e1",
  })
  const series = { count: 7, lastObservedTime: "2026-11-23T20:59:50.000000Z" }
  expect(
    shown(EVENTS, {
      ...event,
      firstTimestamp: null,
      eventTime: "2026-11-23T20:58:00.000000Z",
      series,
    }),
  ).toMatchObject({
    "Last Seen": "10s",
    "+First Seen": "2m",
    "+Count": 7,
  })
})

test("what a row carries of its object", () => {
  const secret = {
    kind: "Secret",
    apiVersion: "v1",
    metadata: { name: "a" },
    data: { k: "eA==" },
    type: "Opaque",
  }
  const carried = (includeObject: "None" | "Metadata" | "Object") =>
    toTable(SECRETS, { items: [secret], metadata: {} }, { ...options, includeObject }).rows[0]
      ?.object
  expect(carried("None")).toBeNull()
  expect(carried("Object")).toEqual(secret)
  expect(carried("Metadata")).toEqual({
    kind: "PartialObjectMetadata",
    apiVersion: "meta.k8s.io/v1",
    metadata: { name: "a" },
  })
})

test("transcript 188: a list of metadata", () => {
  const recorded = JSON.parse(textOf(transcript("188").http[0]?.respBody ?? ""))
  const items = recorded.items.map(({ metadata }: KubeObject) => ({
    kind: "Secret",
    apiVersion: "v1",
    metadata,
    data: {},
  }))
  expect(toPartialList({ items, metadata: recorded.metadata }, "v1")).toEqual(recorded)
})

const [SECOND, MINUTE, HOUR, DAY] = [1, 60, 3600, 86_400]

// The edges of Kubernetes' own table (k8s.io/apimachinery/pkg/util/duration).
// biome-ignore format: a table
test.each([
  [-2 * SECOND, "<invalid>"], [-1, "0s"],              [0, "0s"],                  [119, "119s"],
  [2 * MINUTE, "2m"],         [2 * MINUTE + 5, "2m5s"], [10 * MINUTE - 1, "9m59s"], [10 * MINUTE + 5, "10m"],
  [3 * HOUR - 1, "179m"],     [3 * HOUR, "3h"],         [7 * HOUR + 59 * MINUTE, "7h59m"], [8 * HOUR + MINUTE, "8h"],
  [47 * HOUR, "47h"],         [2 * DAY, "2d"],          [2 * DAY + 23 * HOUR, "2d23h"], [8 * DAY + HOUR, "8d"],
  [729 * DAY, "729d"],        [730 * DAY, "2y"],        [731 * DAY, "2y1d"],        [365 * 8 * DAY, "8y"],
])("%d seconds ago: %s", (seconds, text) => {
  expect(humanDuration(seconds * 1000)).toBe(text)
})

test("no time has no age", () => {
  expect(ageOf(undefined, NOW)).toBe("<unknown>")
})
