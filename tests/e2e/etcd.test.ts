/** One server on etcd, as its user starts it: Secrets by kubectl, a rotation with a watch over it, a restart, etcd gone
 *  and back. */
import { afterAll, beforeAll, expect, test } from "vitest"
import { ERRORS } from "../../src/errors.ts"
import { encodeObject } from "../../src/format/codec.ts"
import type { KubeObject } from "../../src/format/object.ts"
import { Etcd } from "../harness/etcd.ts"
import { Program, until } from "../harness/process.ts"
import { missing, needs } from "../harness/programs.ts"
import { keyturn, kubectl, startServer, type TestServer } from "../harness/server.ts"

needs("kubectl", "etcd")
let etcd: Etcd
beforeAll(async () => {
  if ((await missing("etcd")) === undefined) etcd = await Etcd.start()
})
afterAll(() => etcd?.[Symbol.asyncDispose]())

const SECRETS = { key: "/registry/secrets/", end: "/registry/secrets0" }
const UNDER = /^k8s:enc:\w+:v1:([^:]+(?::\d\d:[^:]+)?):/

/** How many values of Secrets are under which key, and what else; `revision`: as it was. */
async function census(revision?: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { value } of await etcd.entries(revision ? { ...SECRETS, revision } : SECRETS)) {
    const [, under = "plain"] = UNDER.exec(value.toString("latin1")) ?? []
    counts[under] = (counts[under] ?? 0) + 1
  }
  return counts
}

/** The keys that any value is under which can still be read of etcd's history. */
async function keysInHistory(): Promise<string[]> {
  const entries = await etcd.entries()
  const newest = Math.max(...entries.map(({ modified }) => modified))
  const found = new Set<string>()
  for (let revision = newest; revision > 0; revision -= 1) {
    const counts = await census(revision).catch(() => undefined)
    if (counts === undefined) return [...found]
    for (const under of Object.keys(counts)) found.add(under)
  }
  return [...found]
}

async function succeeds(server: TestServer, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await kubectl(server, words)
  expect({ code, stderr }, words.join(" ")).toMatchObject({ code: 0 })
  return stdout
}

const passwordOf = (server: TestServer, name: string) =>
  succeeds(server, "get", "secret", name, "-o", "jsonpath={.data.password}")

test("Secrets are kept, turned to a new key and found again by a server that starts anew", async () => {
  const env = { KEYTURN_DATASTORE_ENDPOINT: etcd.endpoint }
  await using server = await startServer({ env, args: ["--secrets-encryption"] })
  const make = (name: string) =>
    succeeds(server, "create", "secret", "generic", name, `--from-literal=password=${name}`)
  for (const name of ["a", "b", "c", "d"]) await make(name)
  await succeeds(server, "delete", "secret", "d")
  const before = await census()
  expect(Object.values(before)).toEqual([3])
  await using watch = new Program("kubectl", ["get", "secrets", "-w", "-o", "name"], {
    env: server.env,
  })
  await until(() => watch.stdout.split("\n").length > 3)

  const rotated = await keyturn(server, ["secrets-encrypt", "rotate-keys"])
  expect(rotated).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })
  const after = await census()
  expect(Object.values(after)).toEqual([3])
  expect(Object.keys(after)).not.toEqual(Object.keys(before))
  expect(await keysInHistory()).toEqual(Object.keys(after))

  // The watch went on through it, and was told of each Secret once.
  await make("last")
  await until(() => watch.stdout.includes("secret/last"))
  const told = ["a", "b", "c"].flatMap((name) => [`secret/${name}`, `secret/${name}`])
  expect(watch.stdout.trim().split("\n").toSorted()).toEqual([...told, "secret/last"].toSorted())
  const { stdout: status } = await keyturn(server, ["secrets-encrypt", "status"])
  expect(status).toContain("Current Rotation Stage: reencrypt_finished")

  await server.restart()
  expect(await passwordOf(server, "a")).toBe(Buffer.from("a").toString("base64"))
  await server.kill9()
  await server.start()
  expect(await passwordOf(server, "b")).toBe(Buffer.from("b").toString("base64"))

  await etcd.stop("SIGKILL")
  const { code, stderr } = await kubectl(server, ["get", "secret", "a"])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("ECONNREFUSED") })
  await etcd.start()
  const again = async () => (await kubectl(server, ["get", "secret", "a"])).code === 0
  await until(again, { timeoutMs: 10_000 })
  expect(await server.stop()).toBe(0)
  expect(server.logs()).toContain(`etcd at ${etcd.endpoint}`)
})

test("a Secret that etcd does not take once it is encrypted is named, and the command fails", async () => {
  await using own = await Etcd.start()
  await using server = await startServer({ env: { KEYTURN_DATASTORE_ENDPOINT: own.endpoint } })
  const key = "/registry/secrets/default/large"
  const of = (sizeBytes: number) => {
    const data = { password: Buffer.alloc(sizeBytes, "x").toString("base64") }
    const metadata = { name: "large", namespace: "default" }
    const secret: KubeObject = { kind: "Secret", apiVersion: "v1", metadata, data }
    return encodeObject(secret)
  }
  // Its put is just within 1.5 MiB.
  const most = 1.5 * 2 ** 20 - 100
  await own.put(key, of(most - (of(most).length - most)))
  const enable = ["secrets-encrypt", "enable", "--wait"]
  const { code, stderr } = await keyturn(server, enable)
  expect({ code, stderr }).toMatchObject({ code: ERRORS.KeyStillNeeded.exit })
  expect(stderr).toContain(`cannot rewrite 1 stored value: ${key}: etcd at `)
  await own.put(key, of(1_000_000))
  const again = await keyturn(server, ["secrets-encrypt", "reencrypt", "--force", "--wait"])
  expect(again).toMatchObject({ code: 0 })
  expect(await keyturn(server, ["secrets-encrypt", "verify"])).toMatchObject({ code: 0 })
})

test("an address with a password in it stops the start, and is not shown", async () => {
  const env = { KEYTURN_DATASTORE_ENDPOINT: etcd.endpoint.replace("//", "//ann:wr0ng-p4ssword@") }
  const refused = await startServer({ env }).then(
    () => "started",
    (error: unknown) => String(error),
  )
  expect(refused).toContain("etcd's users are not supported")
  expect(refused).not.toContain("wr0ng")
})
