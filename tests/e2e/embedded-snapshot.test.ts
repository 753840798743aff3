/** Copies of an embedded etcd: saved while it is written, put back whole, under the keyring of their time. */
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { ERRORS } from "../../src/errors.ts"
import { join as joinCluster, startEmbedded, untilRead, writeSecret } from "../harness/embedded.ts"
import { freePort } from "../harness/ports.ts"
import { needs } from "../harness/programs.ts"
import { keyturn, kubectlSaid, TestServer } from "../harness/server.ts"

needs("kubectl", "etcd", "etcdctl")

/** `snapshot restore` goes by them too. */
const ownSettings = async () => ({
  KEYTURN_BIND_ADDRESS: "127.0.0.1",
  KEYTURN_ETCD_CLIENT_PORT: String(await freePort()),
  KEYTURN_ETCD_PEER_PORT: String(await freePort()),
})

async function said(server: TestServer, ...argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await keyturn(server, argv)
  expect({ code, stderr }, argv.join(" ")).toEqual({ code: 0, stderr: expect.any(String) })
  return stdout.trim()
}

const names = async (server: TestServer) =>
  (await kubectlSaid(server, ["get", "secrets", "-o", "name"])).trim().split("\n")

test("a snapshot from before a rotation and a change of token comes back, here and on an empty machine", {
  timeout: 180_000,
}, async () => {
  await using server = new TestServer({ env: await ownSettings(), args: ["--secrets-encryption"] })
  await server.start(["--cluster-init"])
  const paths = dataDirPaths(server.dataDir)
  const tokenFile = join(server.home, "token-of-then")
  copyFileSync(paths.token, tokenFile)
  await writeSecret(server, "before")
  const saved = await said(server, "snapshot", "save", "--name", "first")
  expect(statSync(saved).mode & 0o777).toBe(0o600)
  const name = saved.slice(paths.snapshots.length + 1)
  expect(await said(server, "snapshot", "list")).toContain(`${name}  ${statSync(saved).size}  `)
  await said(server, "secrets-encrypt", "rotate-keys")
  await writeSecret(server, "after")
  await said(server, "token", "rotate")
  const restore = (...more: readonly string[]) =>
    keyturn(server, ["snapshot", "restore", name, ...more], { timeoutMs: 60_000 })

  expect(await restore()).toMatchObject({ code: ERRORS.DataDirInUse.exit })
  await server.stop()
  const now = readFileSync(paths.token, "utf8")
  expect(await restore()).toMatchObject({ code: ERRORS.SlotDidNotOpen.exit })
  const left = () => readdirSync(paths.db).filter((file) => /restore|moving/.test(file))
  expect(left()).toEqual([])

  const { code, stderr } = await restore("--token-file", tokenFile)
  expect({ code, stderr }).toMatchObject({ code: 0 })
  const [, kept = ""] = /is kept, with its token: (\S+)/.exec(stderr) ?? []
  expect(readFileSync(join(kept, "token"), "utf8")).toBe(now)
  expect(existsSync(join(kept, "etcd/member"))).toBe(true)

  // As a kill before the last step leaves it.
  renameSync(paths.etcd.data, paths.etcd.moving.data)
  renameSync(join(kept, "etcd"), paths.etcd.data)
  const reset = await server.start(["--cluster-reset"]).catch(String)
  expect(reset).toContain("a restore that was cut short has come to its end")
  expect(reset).toContain("this server's etcd is the only member of its cluster now")
  expect(left()).toHaveLength(2)
  await server.start()
  expect(readFileSync(paths.token, "utf8")).toBe(readFileSync(tokenFile, "utf8"))
  await untilRead(server, "before")
  expect(await names(server)).toEqual(["secret/before"])
  await said(server, "secrets-encrypt", "rotate-keys")
  await untilRead(server, "before")
  await server.restart()
  await untilRead(server, "before")

  await using other = new TestServer({ env: await ownSettings() })
  const elsewhere = (...words: readonly string[]) =>
    keyturn(other, ["snapshot", "restore", ...words, "--token-file", tokenFile], {
      timeoutMs: 60_000,
    })
  const broken = join(other.home, "broken")
  writeFileSync(broken, readFileSync(saved).subarray(0, 40_000))
  expect(await elsewhere(broken)).toMatchObject({ code: ERRORS.SnapshotInvalid.exit })
  expect(await elsewhere(saved)).toMatchObject({ code: 0 })
  await other.start()
  await untilRead(other, "before")
  const told = JSON.parse(await said(other, "secrets-encrypt", "history", "-o", "json"))
  expect(told.at(-1)).toMatchObject({ verb: "snapshot restore", user: "server", target: saved })
})

test("of a cluster that was restored, members with the data of before end and say so, and join again", {
  timeout: 240_000,
}, async () => {
  await using cluster = await startEmbedded()
  const [first, second, third] = [cluster.server(1), cluster.server(2), cluster.server(3)]
  await writeSecret(first, "before")
  const saved = await said(first, "snapshot", "save", "--name", "first")
  await writeSecret(first, "after")
  for (const server of cluster.servers) await cluster.stop(server)
  const restored = await keyturn(first, ["snapshot", "restore", saved], { timeoutMs: 60_000 })
  expect(restored).toMatchObject({ code: 0 })
  expect(restored.stderr).toContain("on each of the others, move <data-dir>/server/db/etcd away")

  // More than half of the old cluster, which runs until it meets the new one.
  await Promise.all([cluster.start(second), cluster.start(third)])
  await cluster.start(first)
  for (const server of [second, third]) {
    expect(await server.ended()).toBe(ERRORS.MemberRemoved.exit)
    expect(server.logs()).toContain("another member was restored from a snapshot")
  }
  expect(await names(first)).toEqual(["secret/before"])
  const again = second.start().catch(String)
  expect(await again).toContain("another member was restored from a snapshot")

  for (const n of [2, 3]) {
    rmSync(dataDirPaths(cluster.server(n).dataDir).etcd.data, { recursive: true })
    await joinCluster(cluster, n)
  }
  await writeSecret(third, "later")
  for (const server of cluster.servers) {
    await untilRead(server, "later")
    expect(await names(server)).toEqual(["secret/before", "secret/later"])
  }

  // The restore knew nothing of the Node's name.
  expect(await keyturn(first, ["server", "leave"])).toMatchObject({ code: 0 })
  expect(await first.ended()).toBe(0)
  await writeSecret(third, "last")
  expect(await first.start().catch(String)).toContain("was removed from the etcd cluster")
})
