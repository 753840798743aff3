/** One server on an embedded etcd: from the first start on, over the deaths of each of the two processes. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, expect, test } from "vitest"
import { ERRORS } from "../../src/errors.ts"
import { etcdPid, isEtcd, ownPorts, untilRead, writeSecret } from "../harness/embedded.ts"
import { run, until } from "../harness/process.ts"
import { needs } from "../harness/programs.ts"
import { KEYTURN, keyturn, TestServer } from "../harness/server.ts"

needs("kubectl", "etcd")

test("a server founds its etcd, starts it again where it dies, and takes it along when it ends", {
  timeout: 120_000,
}, async () => {
  await using server = new TestServer({ args: [...(await ownPorts()), "--secrets-encryption"] })
  await server.start(["--cluster-init"])
  await writeSecret(server, "a")
  const first = etcdPid(server)

  process.kill(first, "SIGKILL")
  await until(() => !isEtcd(first))
  await untilRead(server, "a")
  const second = etcdPid(server)
  expect(second).not.toBe(first)
  expect(server.logs()).toContain("etcd was ended by SIGKILL; it is started again in 0.2 s")
  const rotated = await keyturn(server, ["secrets-encrypt", "rotate-keys"])
  expect(rotated).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })

  expect(await server.stop()).toBe(0)
  expect(isEtcd(second)).toBe(false)
  await server.start()
  await untilRead(server, "a")
  const third = etcdPid(server)
  await server.kill9()
  await until(() => !isEtcd(third))
  await server.start()
  await untilRead(server, "a")
  expect(existsSync(join(server.dataDir, "server/db/state.db"))).toBe(false)
  const token = readFileSync(join(server.dataDir, "server/token"), "utf8").trim()
  expect(server.logs()).not.toContain(token.slice(token.lastIndexOf(":") + 1))
  expect(server.logs()).not.toMatch(/PRIVATE KEY|Unhandled|\bbug\b/)
})

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-embedded-"))
  folders.push(folder)
  return folder
}

/** PATH with a setpriv in front that can do nothing. */
function withoutSetpriv(): string {
  const folder = temporary()
  writeFileSync(join(folder, "setpriv"), "#!/bin/sh\nexit 1\n", { mode: 0o755 })
  return `${folder}:${process.env.PATH}`
}

async function outlives(pid: number): Promise<boolean> {
  await sleep(300)
  return isEtcd(pid)
}

test("where setpriv is missing that is said, and the next start ends the etcd that was left", {
  timeout: 60_000,
}, async () => {
  await using server = new TestServer({ args: await ownPorts(), env: { PATH: withoutSetpriv() } })
  await server.start(["--cluster-init"])
  expect(server.logs()).toContain("there is no setpriv that knows --pdeathsig")
  await writeSecret(server, "a")
  let left = etcdPid(server)
  await server.kill9()
  // One that answers just then dies of it: its log goes to the server.
  for (let turn = 0; turn < 5 && !(await outlives(left)); turn += 1) {
    await server.start()
    left = etcdPid(server)
    await server.kill9()
  }
  expect(isEtcd(left)).toBe(true)
  await server.start()
  expect(isEtcd(left)).toBe(false)
  expect(server.logs()).toContain("an etcd of an earlier server runs on this data: it is ended")
  await untilRead(server, "a")
})

test("without an etcd, or with one that does not start, the start ends and says what to do", {
  timeout: 60_000,
}, async () => {
  const dataDir = temporary()
  const start = async (binary: string) =>
    run(KEYTURN, [
      "server",
      "--config",
      "/dev/null",
      "--data-dir",
      dataDir,
      "--cluster-init",
      "--etcd-binary",
      binary,
      ...(await ownPorts()),
    ])
  const none = await start("/nonexistent/etcd")
  expect(none.code).toBe(ERRORS.EtcdMissing.exit)
  expect(none.stderr).toContain('there is no etcd that can be run as "/nonexistent/etcd"')
  expect(none.stderr).toContain("sudo apt-get install etcd-server")
  const bad = join(dataDir, "bad-etcd")
  writeFileSync(bad, '#!/bin/sh\n[ "$1" = --version ] || { echo "it cannot" >&2; exit 3; }\n', {
    mode: 0o755,
  })
  const ended = await start(bad)
  expect(ended.code).toBe(ERRORS.EtcdEnded.exit)
  expect(ended.stderr).toContain("etcd ended with 3 before it was ready: it cannot")
})
