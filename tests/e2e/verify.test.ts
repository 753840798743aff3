/** `secrets-encrypt verify` on a running server and on a file that nobody serves, K3s' own included, with what speaks against a
 *  proof put there by hand. */
import { createHash } from "node:crypto"
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterAll, beforeAll, expect, test } from "vitest"
import type { Verification } from "../../src/rewriter/verify.ts"
import { command } from "../harness/command.ts"
import { keyturn, kubectlSaid, TestServer } from "../harness/server.ts"
import { secretsEncrypt } from "../harness/secrets-encrypt.ts"

const NOT_PROVEN = 32
const folder = mkdtempSync(join(tmpdir(), "keyturn-verify-"))
let server: TestServer
const state = () => join(server.dataDir, "server/db/state.db")

beforeAll(async () => {
  server = new TestServer({ args: ["--secrets-encryption"] })
  await server.start()
  for (const name of ["a", "b"])
    await kubectlSaid(server, ["create", "secret", "generic", name, "--from-literal=p=planted"])
  await kubectlSaid(server, ["create", "ns", "other"])
  await kubectlSaid(server, ["-n", "other", "create", "secret", "generic", "c"])
  await kubectlSaid(server, ["label", "secret", "a", "changed=yes"])
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const verified = async (...words: readonly string[]) => {
  const { code, stdout, stderr } = await keyturn(server, [
    "secrets-encrypt",
    "verify",
    "-o",
    "json",
    ...words,
  ])
  return { code, stderr, found: JSON.parse(stdout) as Verification }
}

/** A copy of the stopped or running server's file with its log, as a machine that went down leaves them. */
function copied(name: string): string {
  const path = join(folder, name)
  for (const end of ["", "-wal"]) if (existsSync(state() + end)) cpSync(state() + end, path + end)
  return path
}

const digests = (path: string) =>
  ["", "-wal"].map((end) =>
    createHash("sha256")
      .update(readFileSync(path + end))
      .digest("hex"),
  )

const offline = (path: string, ...words: readonly string[]) =>
  command(["secrets-encrypt", "verify", "--datastore-endpoint", `sqlite://${path}`, ...words])

const token = () => readFileSync(join(server.dataDir, "server/token"), "utf8").trim()

test("all under the key that writes: live values, old values, namespaces, the files", async () => {
  const { code, found } = await verified("--open")
  expect(code).toBe(0)
  expect(found).toMatchObject({
    opened: true,
    writingkey: "aescbckey",
    live: 3,
    stored: 5,
    keys: [{ name: "aescbckey", state: "writing", live: 3, stored: 5 }],
    unencrypted: { live: 0, stored: 0, infiles: 0, names: [] },
    unreadable: { stored: 0, names: [] },
    namespaces: [
      { name: "default", stored: 4, current: 4 },
      { name: "other", stored: 1, current: 1 },
    ],
    problems: [],
  })
  expect(found.keys[0]?.infiles).toBeGreaterThanOrEqual(5)
  const text = await secretsEncrypt(server, "verify")
  expect(text).toMatch(/^Revision: \d+\nStored Values: 5, with history; 3 live\nOpened: none/)
  expect(text).toMatch(/^writing +AES-CBC +3 +5 +\d+ +aescbckey$/m)
  expect(text).toMatch(/^other +1 +1$/m)
  expect(text).not.toContain("planted")
})

test("a path that is no file is told as one", async () => {
  const told = await offline(folder)
  expect(told).toMatchObject({ code: 20, stdout: "" })
  expect(told.stderr).toContain(`there is no file ${folder}`)
})

test("a file that was put in the place of the one that is open is not taken for it", async () => {
  const aside = `${state()}.aside`
  renameSync(state(), aside)
  cpSync(aside, state())
  const { code, stdout, stderr } = await keyturn(server, ["secrets-encrypt", "verify"])
  renameSync(aside, state())
  expect({ code, stdout }).toEqual({ code: 13, stdout: "" })
  expect(stderr).toContain("was moved, deleted or replaced while it was open")
  expect((await verified()).code).toBe(0)
})

test("a file with its log is read as it lies, and not a byte of it changes", async () => {
  const path = copied("beside.db")
  const before = digests(path)
  const told = await offline(path, "--token", token(), "--open", "-o", "json")
  expect(told).toMatchObject({ code: 0, stderr: "" })
  expect(JSON.parse(told.stdout)).toMatchObject({ live: 3, stored: 5, writingkey: "aescbckey" })
  expect(digests(path)).toEqual(before)
  const wrong = await offline(path, "--token", "another")
  expect(wrong).toMatchObject({ code: 15, stdout: "" })
})

test("after a rotation nothing is under the old key; a row under it that comes back is named", async () => {
  const old = copied("before.db")
  await secretsEncrypt(server, "rotate-keys")
  expect(await verified("--key", "aescbckey")).toMatchObject({ code: 0, stderr: "" })
  const misspelt = await verified("--key", "aescbckye")
  expect(misspelt.code).toBe(0)
  expect(misspelt.stderr).toContain('no key is known by the name "aescbckye"')
  expect((await verified()).code).toBe(0)

  await server.stop()
  const rows = `attach '${old}' as old; update kine set value = (select value from old.kine as o where o.id = kine.id)
    where name = '/registry/secrets/default/b'`
  using database = new DatabaseSync(state())
  database.exec(rows)
  database.close()
  await server.start()

  const { code, stderr, found } = await verified("--key", "aescbckey")
  expect(code).toBe(NOT_PROVEN)
  expect(stderr).toContain(
    '1 stored value is under the key "aescbckey" (/registry/secrets/default/b)',
  )
  expect(found.keys.find(({ name }) => name === "aescbckey")).toMatchObject({
    state: "archived",
    live: 1,
    names: ["/registry/secrets/default/b"],
  })
  expect((await verified()).code).toBe(NOT_PROVEN)
  await secretsEncrypt(server, "reencrypt", "--force", "--wait")
  expect((await verified("--open")).code).toBe(0)
})

test("what is left over in the file, and in no row, speaks against it", async () => {
  await server.stop()
  using database = new DatabaseSync(state())
  database.exec(`pragma secure_delete = off;
    create table other (x); insert into other values ('k8s:enc:aescbc:v1:aescbckey:xxxxxxxxxxxxxxxx');
    delete from other; pragma wal_checkpoint(truncate)`)
  database.close()
  await server.start()
  const { code, stderr, found } = await verified("--key", "aescbckey")
  expect(code).toBe(NOT_PROVEN)
  expect(stderr).toContain(
    `the database's files hold what a value under the key "aescbckey" begins`,
  )
  expect(found.keys.find(({ name }) => name === "aescbckey")).toMatchObject({
    stored: 0,
    infiles: 1,
  })
  await secretsEncrypt(server, "reencrypt", "--force", "--wait")
  expect((await verified("--key", "aescbckey")).code).toBe(0)
})

test("plain text and what does not open are counted and named, without their content", async () => {
  await server.stop()
  const path = copied("broken.db")
  using database = new DatabaseSync(path)
  const plain = Buffer.from("k8s\0\n\x0c\n\x02v1\x12\x06Secret planted", "latin1")
  const set = database.prepare("update kine set value = ? where name = ? and deleted = 0")
  set.run(plain, "/registry/secrets/other/c")
  set.run(Buffer.from("k8s:enc:aescbc:v1:nobody:0123456789abcdef"), "/registry/secrets/default/b")
  database.close()
  const { code, stdout, stderr } = await offline(path, "--token", token(), "--open", "-o", "json")
  expect(code).toBe(NOT_PROVEN)
  const found = JSON.parse(stdout) as Verification
  expect(found.unencrypted).toMatchObject({ live: 1, names: ["/registry/secrets/other/c"] })
  expect(found.unencrypted.infiles).toBeGreaterThanOrEqual(1)
  expect(found.keys.find(({ name }) => name === "aescbc nobody")).toMatchObject({
    state: "unknown",
    names: ["/registry/secrets/default/b"],
  })
  expect(found.unreadable.names.map(({ key }) => key)).toContain("/registry/secrets/default/b")
  expect(stderr).toContain("1 stored value is in plain text (/registry/secrets/other/c)")
  expect(stdout + stderr).not.toContain("planted")
  for (const name of ["nobody", "aescbc nobody"]) {
    const asked = await offline(path, "--token", token(), "--key", name)
    expect(asked.code, name).toBe(NOT_PROVEN)
    expect(asked.stderr).toContain(
      `1 stored value is under the key "${name}" (/registry/secrets/default/b)`,
    )
  }
  await server.start()
  const unset = await keyturn(server, ["secrets-encrypt", "verify", "--key="])
  expect(unset.code).toBe(2)
  expect(unset.stderr).toContain("--key takes the name of a key, and it is empty")
})

test("a file of K3s has no keyring: its prefixes are counted, or its configuration says which key writes", async () => {
  const path = copied("k3s.db")
  using database = new DatabaseSync(path)
  database.exec("drop table keyturn_record; drop table keyturn_fence")
  database.close()
  const prefixes = await offline(path, "-o", "json")
  expect(prefixes.code).toBe(NOT_PROVEN)
  expect(prefixes.stderr).toContain("no key is known to write")
  const { keys } = JSON.parse(prefixes.stdout) as Verification
  expect(keys).toMatchObject([{ state: "unknown", stored: 5 }])
  expect((await offline(path, "--key", "never-used")).code).toBe(0)

  const config = join(folder, "encryption-config.json")
  cpSync(join(server.dataDir, "server/cred/encryption-config.json"), config)
  const known = await offline(path, "--open", "--encryption-provider-config", config)
  expect(known).toMatchObject({ code: 0, stderr: "" })
  writeFileSync(config, "{}")
  expect((await offline(path, "--encryption-provider-config", config)).code).toBe(2)
})
