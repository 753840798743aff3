import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { cluster } from "../../tests/rotation/cluster.ts"
import { serverLeases } from "./server-lease.ts"
import { Registry } from "../registry/registry.ts"
import { openSqlite } from "../store/sqlite.ts"
import type { Store } from "../store/store.ts"
import { type NodeFacts, removeNode, shownHashes, writeNode } from "./node.ts"

const dir = mkdtempSync(join(tmpdir(), "keyturn-node-"))
const store = openSqlite({ path: join(dir, "state.db") })
afterAll(async () => {
  await store.close()
  rmSync(dir, { recursive: true })
})

const FACTS: NodeFacts = {
  name: "server-1",
  addresses: [],
  version: "v0",
  os: { platform: "linux", arch: "amd64", release: "6" },
}

const { registry, keys } = await cluster(store)

test("an own Node that does not open is made anew", async () => {
  for (const damaged of ["rubbish", "k8s:enc:aescbc:v1:nobodys:0123456789abcdef", "k8s\0\xff"]) {
    const key = `/registry/minions/${damaged.length}`
    const facts = { ...FACTS, name: String(damaged.length) }
    await store.create({ key, value: Buffer.from(damaged, "latin1"), fence: undefined })
    expect((await shownHashes(registry)).map(({ name }) => name)).not.toContain(facts.name)
    await writeNode(registry, facts, { hash: "start-0", now: new Date(0) })
    expect(await shownHashes(registry)).toContainEqual({ name: facts.name, hash: "start-0" })
  }
})

test("a Node goes, also where somebody writes to it meanwhile", async () => {
  const told = { hash: "start-0", now: new Date(0) }
  await writeNode(registry, FACTS, told)
  let writes = 0
  const remove: Store["delete"] = async (asked) => {
    if (writes++ === 0) await writeNode(registry, { ...FACTS, version: "v1" }, told)
    return store.delete(asked)
  }
  const beside = new Proxy(store, {
    get(target, name) {
      const value: unknown = name === "delete" ? remove : Reflect.get(target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })
  await removeNode(new Registry(beside, keys), FACTS.name)
  expect(writes).toBe(2)
  expect((await shownHashes(registry)).map(({ name }) => name)).not.toContain(FACTS.name)
})

test("a lease that does not open keeps nobody from the others", async () => {
  const key = "/registry/leases/kube-system/keyturn-server-1"
  const value = Buffer.from("k8s:enc:aescbc:v1:nobodys:0123456789abcdef")
  await store.create({ key, value, fence: undefined })
  expect(await serverLeases(registry)).toEqual([])
})
