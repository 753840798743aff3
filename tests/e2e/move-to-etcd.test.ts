/** A server on SQLite moves to an embedded etcd: nothing is lost, whenever it is killed, and clients that watched find their way. */
import { CoreV1Api, KubeConfig, makeInformer, type V1Secret } from "@kubernetes/client-node"
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { expect, test } from "vitest"
import { apiClient } from "../harness/api.ts"
import { ownPorts, plantInto, stored, untilRead, writeSecret } from "../harness/embedded.ts"
import { until } from "../harness/process.ts"
import { needs } from "../harness/programs.ts"
import { expectStatus, secretsEncrypt, stage } from "../harness/secrets-encrypt.ts"
import { keyturn, kubectlSaid, TestServer } from "../harness/server.ts"

needs("kubectl", "etcd")

const args = [...(await ownPorts()), "--secrets-encryption"]
const database = (server: TestServer) => join(server.dataDir, "server/db")
const backups = (server: TestServer) =>
  readdirSync(database(server)).filter((name) => name.startsWith("state.db.before-etcd-"))

/** Everything but what changes by itself. */
const objects = (server: TestServer) =>
  kubectlSaid(server, [
    "get",
    "secrets,namespaces",
    "-A",
    "-o",
    'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.metadata.uid} {.data}{"\\n"}{end}',
  ])

test("all that a server on SQLite has moves to its embedded etcd, and an informer misses nothing", {
  timeout: 120_000,
}, async () => {
  await using server = new TestServer({ args })
  await server.start()
  for (let n = 0; n < 3; n++) await secretsEncrypt(server, "rotate-keys")
  await kubectlSaid(server, ["create", "namespace", "other"])
  for (const name of ["a", "b", "c"]) await writeSecret(server, name)
  await kubectlSaid(server, ["delete", "secret", "c"])
  // A history as long as that of a server that was used: its revisions are above those that etcd begins with.
  using writer = apiClient(server.kubeconfig)
  for (let n = 0; n < 300; n++) {
    const name = `passing-${n}`
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name } }
    await writer.call("POST", "/api/v1/namespaces/default/secrets", secret)
    await writer.call("DELETE", `/api/v1/namespaces/default/secrets/${name}`)
  }
  // That all is encrypted is proven anew, at such a revision.
  for (const verb of ["disable", "enable"]) await secretsEncrypt(server, verb)
  const before = await objects(server)

  const config = new KubeConfig()
  config.loadFromFile(server.kubeconfig)
  const api = config.makeApiClient(CoreV1Api)
  const told: string[] = []
  const informer = makeInformer<V1Secret>(config, "/api/v1/namespaces/default/secrets", () =>
    api.listNamespacedSecret({ namespace: "default" }),
  )
  for (const event of ["add", "update", "delete"] as const)
    informer.on(event, ({ metadata }) => void told.push(`${event} ${metadata?.name}`))
  let ending = false
  const again = () =>
    void setTimeout(() => {
      if (!ending) informer.start().catch(again)
    }, 100)
  informer.on("error", again)
  await informer.start()
  await until(() => told.length === 2)

  const oldRevision = (await api.listNamespacedSecret({ namespace: "default" })).metadata
    ?.resourceVersion
  const { stdout: saved } = await keyturn(server, ["snapshot", "save"])
  await server.stop()
  await server.start(["--cluster-init"])
  expect(await objects(server)).toBe(before)
  expect(existsSync(join(database(server), "state.db"))).toBe(false)
  expect(backups(server)).toHaveLength(1)
  const values = await stored(server, { key: "/registry/secrets/", end: "/registry/secrets0" })
  expect(
    values.map(({ value }) => value.toString("latin1").startsWith("k8s:enc:aescbc:v1:")),
  ).toEqual([true, true])

  const path = `/api/v1/namespaces/default/secrets?resourceVersion=${oldRevision}`
  for (const query of ["&watch=1&timeoutSeconds=2", "&resourceVersionMatch=Exact"])
    await expect(kubectlSaid(server, ["get", "--raw", path + query])).rejects.toThrow(
      /too (large|old) resource version|required resource version has been compacted/i,
    )
  await writeSecret(server, "d")
  await kubectlSaid(server, ["delete", "secret", "a"])
  await until(() => told.includes("add d") && told.includes("delete a"), { timeoutMs: 30_000 })
  ending = true
  await informer.stop()

  await secretsEncrypt(server, "rotate-keys")
  await expectStatus(server, stage("reencrypt_finished"))
  await server.restart()
  await untilRead(server, "b")

  // What was proven of the database, at a revision that etcd has yet to come to, holds of what etcd tells.
  const { metadata } = await api.listNamespacedSecret({ namespace: "default" })
  const key = "/registry/secrets/default/planted"
  await plantInto(server, { key, value: Buffer.from("k8s\0, plain text") })
  const since = `/api/v1/namespaces/default/secrets?watch=1&timeoutSeconds=2&resourceVersion=${metadata?.resourceVersion}`
  expect(await kubectlSaid(server, ["get", "--raw", since])).toContain("the value is plain text")

  await server.stop()
  const put = await keyturn(server, ["snapshot", "restore", saved.trim()])
  expect(put).toMatchObject({ code: 26, stderr: expect.stringContaining("a snapshot of SQLite") })
})

test("killed at any moment of the move, the next start has everything, once", {
  timeout: 300_000,
}, async () => {
  await using server = new TestServer({ args })
  await server.start()
  for (let n = 0; n < 20; n++) await writeSecret(server, `s${n}`)
  const before = await objects(server)
  await server.stop()
  const sizeBefore = statSync(join(database(server), "state.db")).size
  expect(sizeBefore).toBeGreaterThan(0)

  // What etcd does not take ends the move in the middle.
  const state = join(database(server), "state.db")
  const planted = (statement: string) => {
    using db = new DatabaseSync(state)
    db.exec(statement)
  }
  planted(`INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
    VALUES ('/registry/configmaps/default/big', 1, 0, 0, 0, 0, zeroblob(2 << 20), NULL)`)
  const refused = await server.start(["--cluster-init"]).catch(String)
  expect(refused).toContain("/registry/configmaps/default/big cannot be moved: ")
  expect(refused).not.toContain("could not be looked for")
  expect(existsSync(state)).toBe(true)
  expect(readdirSync(database(server))).not.toContain("etcd.moving")
  planted("DELETE FROM kine WHERE name = '/registry/configmaps/default/big'")
  // Ended before its last step, and then forgotten.
  mkdirSync(join(database(server), "etcd.moving"))
  await server.start()
  await server.stop()
  expect(readdirSync(database(server))).not.toContain("etcd.moving")

  // Until the move is over; each time a little later.
  let kills = 0
  for (let afterMs = 200; !existsSync(join(database(server), "etcd")); afterMs += 700) {
    const started = server.start(["--cluster-init"]).then(
      () => true,
      () => false,
    )
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    await server.kill9()
    await started
    kills += 1
    const truths = [existsSync(join(database(server), "state.db")), backups(server).length > 0]
    expect(truths.filter(Boolean)).toHaveLength(1)
  }
  console.info(`killed ${kills} times`)
  await server.start(["--cluster-init"])
  expect(await objects(server)).toBe(before)
  expect(backups(server)).toHaveLength(1)
  expect(readdirSync(database(server))).not.toContain("etcd.moving")

  // Between the two renames.
  await server.stop()
  renameSync(join(database(server), "etcd"), join(database(server), "etcd.moving"))
  await server.start()
  expect(await objects(server)).toBe(before)
  expect(readdirSync(database(server))).not.toContain("etcd.moving")
})
