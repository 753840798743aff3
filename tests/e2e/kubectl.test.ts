/** Secrets through the real kubectl, where the recorded conversations do not go: watches beside writes, edits, files of several
 *  objects, binary files, pipes from one kubectl to the next. */

import { randomBytes } from "node:crypto"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { makeAuthorities } from "../../src/cluster/issue.ts"
import { Program, until } from "../harness/process.ts"
import { needs } from "../harness/programs.ts"
import { type CommandOptions, kubectl, kubectlSaid, TestServer } from "../harness/server.ts"

needs("kubectl")

const server = new TestServer({})
beforeAll(() => server.start(["--secrets-encryption"]))
afterAll(() => server[Symbol.asyncDispose]())

const said = (argv: readonly string[], options?: CommandOptions) =>
  kubectlSaid(server, argv, options)

/** With values in base64. */
const secret = (name: string, data: Readonly<Record<string, string>>, namespace = "default") => ({
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name, namespace },
  data,
})
const reading = (...objects: readonly object[]): CommandOptions => ({
  stdin: objects.map((object) => JSON.stringify(object)).join("\n"),
})

/** The value of a key, as bytes. */
async function valueOf(name: string, key: string): Promise<Buffer> {
  const path = `jsonpath={.data.${key.replaceAll(".", "\\.")}}`
  return Buffer.from(await said(["get", "secret", name, "-o", path]), "base64")
}

test("get -w shows every write, each Secret's in its order, while three kubectls write", async () => {
  await said(["create", "secret", "generic", "w0"])
  const each = 'jsonpath={.type} {.object.metadata.name}{"\\n"}'
  const argv = ["get", "secrets", "-w", "--output-watch-events", "-o", each]
  await using watch = new Program("kubectl", argv, { env: server.env })
  await until(() => watch.stdout === "ADDED w0\n")
  const names = ["w1", "w2", "w3"]
  await Promise.all(
    names.map(async (name) => {
      await said(["create", "secret", "generic", name])
      await said(["label", "secret", name, "a=b"])
      await said(["delete", "secret", name])
    }),
  )
  await until(() => watch.stdout.split("DELETED").length > names.length)
  const lines = watch.stdout.split("\n")
  for (const name of names) {
    const events = ["ADDED", "MODIFIED", "DELETED"].map((type) => `${type} ${name}`)
    expect(lines.filter((line) => line.endsWith(` ${name}`))).toEqual(events)
  }
})

test("edit writes what the editor left", async () => {
  await said(["create", "secret", "generic", "edited", "--from-literal=k=old"])
  const env = { KUBE_EDITOR: "sed -i s/b2xk/bmV3/" }
  expect(await said(["edit", "secret", "edited"], { env })).toBe("secret/edited edited\n")
  expect(String(await valueOf("edited", "k"))).toBe("new")
})

test("apply from the client's side: several objects, created, left alone, changed", async () => {
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "applied" } }
  const apply = (data: Record<string, string>) =>
    said(["apply", "-f", "-"], reading(namespace, secret("applied", data, "applied")))
  const told = (how: { ns: string; secret: string }) =>
    `namespace/applied ${how.ns}\nsecret/applied ${how.secret}\n`
  const first = await apply({ kept: "djE=", gone: "" })
  expect(first).toBe(told({ ns: "created", secret: "created" }))
  const again = await apply({ kept: "djE=", gone: "" })
  expect(again).toBe(told({ ns: "unchanged", secret: "unchanged" }))
  const changed = await apply({ kept: "djI=" })
  expect(changed).toBe(told({ ns: "unchanged", secret: "configured" }))
  const data = await said(["-n", "applied", "get", "secret", "applied", "-o", "jsonpath={.data}"])
  expect(JSON.parse(data)).toEqual({ kept: "djI=" })
  const end = await said(["delete", "-f", "-"], reading(namespace))
  expect(end).toBe('namespace "applied" deleted\n')
})

test("apply from the server's side: two managers, a conflict, force", async () => {
  const apply = (manager: string, value: string, ...flags: readonly string[]) => {
    const argv = ["apply", "--server-side", `--field-manager=${manager}`, ...flags, "-f", "-"]
    return kubectl(server, argv, reading(secret("ssa", { k: btoa(value) })))
  }
  const applied = { code: 0, stdout: "secret/ssa serverside-applied\n", stderr: "" }
  expect(await apply("one", "1")).toEqual(applied)
  expect(await apply("two", "1")).toEqual(applied)
  const { code, stderr } = await apply("two", "2")
  expect([code, stderr.split("\n")[0]]).toEqual([
    1,
    'error: Apply failed with 1 conflict: conflict with "one": .data.k',
  ])
  expect(await apply("two", "2", "--force-conflicts")).toEqual(applied)
  expect(String(await valueOf("ssa", "k"))).toBe("2")
  const managers = "jsonpath={.metadata.managedFields[*].manager}"
  const argv = ["get", "secret", "ssa", "--show-managed-fields", "-o", managers]
  expect(await said(argv)).toBe("two")
})

test.each(["client", "server"])("diff, from the %s's side: 0, or 1 and no value", async (side) => {
  const withValue = (k: string) => reading(secret(`diff-${side}`, { k }))
  const argv = ["-f", "-", `--server-side=${side === "server"}`]
  await said(["apply", ...argv], withValue("djE="))
  expect(await said(["diff", ...argv], withValue("djE="))).toBe("")
  const { code, stdout } = await kubectl(server, ["diff", ...argv], withValue("djI="))
  expect(code).toBe(1)
  expect(stdout).toMatch(/^- {2}k: '\*\*\* \(before\)'\n\+ {2}k: '\*\*\* \(after\)'$/m)
  expect(String(await valueOf(`diff-${side}`, "k"))).toBe("v1") // nothing was written
})

test("create secret generic: files of any bytes come back as they were", async () => {
  const bytes = Buffer.concat([Buffer.from([0, 255, 10, 13, 128]), randomBytes(300_000)])
  const file = join(server.home, "any.bin")
  writeFileSync(file, bytes)
  const argv = ["create", "secret", "generic", "files", `--from-file=${file}`]
  await said([...argv, `--from-file=.other_name=${file}`, "--from-literal=empty="])
  expect(bytes.equals(await valueOf("files", "any.bin"))).toBe(true)
  expect(bytes.equals(await valueOf("files", ".other_name"))).toBe(true)
  expect(await said(["describe", "secret", "files"])).toMatch(/^empty: +0 bytes$/m)
})

test("create secret generic: more than 1 MiB is refused", async () => {
  const file = join(server.home, "large.bin")
  writeFileSync(file, randomBytes(1_048_577))
  const argv = ["create", "secret", "generic", "large", `--from-file=${file}`]
  expect(await kubectl(server, argv)).toEqual({
    code: 1,
    stdout: "",
    stderr:
      'error: failed to create secret Secret "large" is invalid: data: Too long: may not be more than 1048576 bytes\n',
  })
})

test("create secret tls and docker-registry", async () => {
  const { cert, key } = (await makeAuthorities(new Date())).server
  const files = { cert: join(server.home, "tls.crt"), key: join(server.home, "tls.key") }
  writeFileSync(files.cert, cert)
  writeFileSync(files.key, key)
  await said(["create", "secret", "tls", "tls", `--cert=${files.cert}`, `--key=${files.key}`])
  expect(String(await valueOf("tls", "tls.crt"))).toBe(cert)
  expect(String(await valueOf("tls", "tls.key"))).toBe(key)

  const who = ["--docker-server=r.example.com", "--docker-username=u", "--docker-password=p"]
  await said(["create", "secret", "docker-registry", "registry", ...who])
  const { auths } = JSON.parse(String(await valueOf("registry", ".dockerconfigjson")))
  expect(auths["r.example.com"]).toEqual({ username: "u", password: "p", auth: btoa("u:p") })
  const columns = "custom-columns=:.type"
  const types = await said(["get", "secret", "tls", "registry", "--no-headers", "-o", columns])
  expect(types).toBe("kubernetes.io/tls\nkubernetes.io/dockerconfigjson\n")
})

test("what get wrote, replace and apply read: one Secret, and a List", async () => {
  await said(["create", "ns", "piped"])
  const inIt = (...argv: readonly string[]) => ["-n", "piped", ...argv]
  for (const name of ["a", "b"])
    await said(inIt("create", "secret", "generic", name, "--from-literal=k=djE="))
  const one = await said(inIt("get", "secret", "a", "-o", "yaml"))
  const changed = one.replace(/^ {2}k: .*$/m, "  k: djI=")
  expect(await said(["replace", "-f", "-"], { stdin: changed })).toBe("secret/a replaced\n")
  expect(await said(inIt("get", "secret", "a", "-o", "jsonpath={.data.k}"))).toBe("djI=")

  const all = await said(inIt("get", "secrets", "-o", "yaml"))
  await said(inIt("delete", "secrets", "--all"))
  const restored = await said(["apply", "-f", "-"], { stdin: all })
  expect(restored).toBe("secret/a created\nsecret/b created\n")
  const wrong = all.replace(/^ {2}kind: Secret$/m, "  kind: Secret\n  dat: {}")
  const { code, stderr } = await kubectl(server, ["create", "-f", "-"], { stdin: wrong })
  expect([code, stderr]).toEqual([1, expect.stringContaining('unknown field "dat"')])
})

test("wait --for=delete ends when the Secret is gone", async () => {
  await said(["create", "secret", "generic", "short"])
  const argv = ["wait", "--for=delete", "secret/short", "--timeout=20s", "-v=6"]
  await using wait = new Program("kubectl", argv, { env: server.env })
  await until(() => wait.stderr.includes("watch=true"))
  expect(await said(["get", "secret", "short", "-o", "name"])).toBe("secret/short\n")
  expect(wait.isRunning).toBe(true)
  await said(["delete", "secret", "short"])
  expect(await wait.ended, wait.stderr).toBe(0)
  expect(wait.stdout).toBe("secret/short condition met\n")
})
