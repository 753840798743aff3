import { createSecretKey, randomBytes } from "node:crypto"
import { expect, test } from "vitest"
import { KnownError } from "../errors.ts"
import { emptyKeyring, type Key, withKey } from "../keyring/keyring.ts"
import { makeView } from "../registry/view.ts"
import type { Row, StoreReader } from "../store/store.ts"
import { census, countsOf, NAMED_MAX, uncompacted } from "./census.ts"

const pair = { cert: "", key: "" }
const key = (name: string): Key => ({
  name,
  provider: "aesgcm",
  state: "active",
  created: "",
  secret: createSecretKey(randomBytes(32)),
})
const keyring = ["old", "a", "a:b"]
  .map(key)
  .reduce(withKey, emptyKeyring({ server: pair, client: pair }, { password: "" }))
const encrypted = { ...keyring, writer: "a", intent: "encrypted" } as const
const view = makeView({ epoch: 1, fence: "", slots: [], keyring: encrypted }, "")

const at = (name: string) => `/registry/secrets/default/${name}`
const plain = Buffer.from("k8s\0 an object")
const sealed = (by: string, name: string) => view.provider(by).seal(plain, at(name))
const foreign = Buffer.from("k8s:enc:aescbc:v1:lost:xxxx")

const storeOf = (rows: readonly Partial<Row>[]) => ({
  revision: async () => 7,
  rows: async ({ cursor }: { cursor: string }) => ({
    rows: rows
      .slice(Number(cursor), Number(cursor) + 2)
      .map((row) => ({ revision: 1, key: "", value: undefined, previous: undefined, ...row })),
    cursor: String(Number(cursor) + 2),
  }),
})

/** Cuts as short as it may. */
const cutting = (rows: readonly Partial<Row>[]) => ({
  ...storeOf(rows),
  async rows({ cursor, headBytes, common }: Parameters<StoreReader["rows"]>[0]) {
    const cut = (stored: Buffer | undefined) =>
      common && stored?.subarray(0, common.length).equals(common)
        ? stored.subarray(0, common.length)
        : stored?.subarray(0, headBytes)
    const batch = await storeOf(rows).rows({ cursor })
    const heads = batch.rows.map((row) => ({
      ...row,
      value: cut(row.value),
      previous: cut(row.previous),
    }))
    return { ...batch, rows: heads }
  },
})

const ROWS = [
  { key: at("x"), value: sealed("a", "x") },
  { key: at("x"), value: sealed("a", "x"), previous: sealed("old", "x") },
  { key: at("y"), value: undefined, previous: sealed("a:b", "y") },
  { key: at("z"), value: plain, previous: Buffer.alloc(0) },
  { key: "/registry/secrets/kube-system/f", value: foreign },
  { key: "/registry/minions/node-1", value: plain },
  { key: "/registry/configmaps/default/c", value: sealed("a", "elsewhere") },
]

test("counts values and old values under every key that fits, and names where they lie", async () => {
  const found = await census(storeOf(ROWS), view)
  expect(countsOf(found)).toEqual(
    new Map([
      ["old", 1],
      ["a", 4],
      ["a:b", 1],
    ]),
  ) // prettier-ignore
  expect(found).toMatchObject({ revision: 7, stored: 7, unreadable: { stored: 0, names: [] } })
  expect(found.keys.get("a")?.names).toEqual([at("x"), at("y"), "/registry/configmaps/default/c"])
  expect(found.unencrypted).toMatchObject({ stored: 1, names: [at("z")] })
  expect([...found.foreign.keys()]).toEqual(["aescbc lost"])
  expect(found.namespaces).toEqual(
    new Map([
      ["default", { stored: 6, current: 3 }],
      ["kube-system", { stored: 1, current: 0 }],
    ]),
  )
})

test.each(["old", "a", "a:b"])(
  "from a store that cuts all it may it is the same, with %s writing",
  async (writer) => {
    const { record } = view
    const other = makeView({ ...record, keyring: { ...encrypted, writer } }, "")
    expect(await census(cutting(ROWS), other)).toEqual(await census(storeOf(ROWS), other))
  },
)

test("what does not open is named where each value is opened, and the rest is counted all the same", async () => {
  const rubbish = view.provider("a").seal(Buffer.from("rubbish"), at("r"))
  const rows = [...ROWS, { key: at("r"), value: rubbish }]
  const { stored, unreadable } = await census(storeOf(rows), view, { opens: true })
  expect(stored).toBe(8)
  expect(unreadable.stored).toBe(3)
  expect(unreadable.names.map(({ key: name }) => name)).toEqual([
    "/registry/secrets/kube-system/f",
    "/registry/configmaps/default/c",
    at("r"),
  ])
})

test("names are as many as anybody reads, and counts are whole", async () => {
  const rows = Array.from({ length: 3 * NAMED_MAX }, (_, i) => ({
    key: at(String(i)),
    value: Buffer.from(`k8s:enc:aescbc:v1:lost-${i}:x`),
    previous: sealed("old", ""),
  }))
  const found = await census(storeOf(rows), view, { opens: true })
  expect(found.keys.get("old")).toMatchObject({ stored: 300 })
  expect(found.keys.get("old")?.names).toHaveLength(NAMED_MAX)
  expect(found.foreign.size).toBeLessThanOrEqual(NAMED_MAX + 1)
  expect(found.foreign.get("unknown")?.stored).toBe(200)
  expect(found.unreadable.names).toHaveLength(NAMED_MAX)
})

test("it pauses after each batch, and ends where a pause does", async () => {
  let pauses = 0
  await census(storeOf(ROWS), view, { pause: async () => void (pauses += 1) })
  expect(pauses).toBe(Math.ceil(ROWS.length / 2))
  const pause = () => Promise.reject(new Error("over"))
  await expect(census(storeOf(ROWS), view, { pause })).rejects.toThrow("over")
})

test("it is read anew where history was compacted meanwhile, and says so where that is each time", async () => {
  let attempts = 0
  const compacted = (times: number) => () =>
    attempts++ < times
      ? Promise.reject(new KnownError("Compacted", "history begins at 9"))
      : Promise.resolve("read")
  expect(await uncompacted(compacted(2))).toBe("read")
  attempts = 0
  await expect(uncompacted(compacted(3))).rejects.toMatchObject({
    code: "StoreUnavailable",
    message: expect.stringContaining("as beside a rotation"),
  })
  expect(attempts).toBe(3)
})
