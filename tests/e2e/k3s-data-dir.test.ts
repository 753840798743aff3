/** A data directory as K3s leaves it opens as it is: kine's file, the configuration with its keys, the token. The values in it
 *  are the ones that a real kube-apiserver stored (shared vectors). */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterAll, expect, test } from "vitest"
import { decodeObject, encodeObject } from "../../src/format/codec.ts"
import { keyturn, kubectl, startServer } from "../harness/server.ts"
import { sharedPath } from "../shared.ts"

interface Vector {
  readonly encryptionConfiguration: string
  readonly secrets: readonly {
    readonly etcdKey: string
    readonly modRevision: string
    readonly storedBase64: string
    readonly getJson: string
  }[]
}

const vector = (name: string): Vector =>
  JSON.parse(readFileSync(sharedPath("vectors", `live-${name}.json`), "utf8"))

const made: string[] = []
afterAll(() => {
  for (const dir of made) rmSync(dir, { recursive: true, force: true })
})

/** kine's schema as K3s had it before 2026: without the two newest indexes. */
const SCHEMA = `
CREATE TABLE kine (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER,
  create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
CREATE INDEX kine_name_index ON kine (name);
CREATE INDEX kine_name_id_index ON kine (name,id);
CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);`

const CONFIG_MAP = Buffer.from("k8s\\0 a config map that keyturn does not read")
const UNKNOWN_FIELD = Buffer.from([0xfa, 0x3f, 3, 0x61, 0x62, 0x63])

const node = {
  kind: "Node",
  apiVersion: "v1",
  metadata: {
    name: "k3s-server",
    uid: "7d3c0b1e-0000-4000-8000-000000000001",
    creationTimestamp: "2026-01-01T00:00:00Z",
    labels: { "node.kubernetes.io/instance-type": "k3s" },
    annotations: { "k3s.io/encryption-config-hash": "start-abc" },
  },
  spec: { podCIDR: "10.42.0.0/24" },
  status: {
    conditions: [{ type: "MemoryPressure", status: "False", reason: "KubeletHasSufficientMemory" }],
  },
}

/** The Node's bytes with a field that this version does not know, inside of the object. */
function nodeWithUnknownField(): Buffer {
  const whole = encodeObject(node)
  const head = 4 + 2 + (whole[5] ?? 0)
  const size = varint(whole, head + 1)
  const raw = whole.subarray(size.end, size.end + size.value)
  const grown = Buffer.concat([raw, UNKNOWN_FIELD])
  const length = Buffer.from([(grown.length & 0x7f) | 0x80, grown.length >> 7])
  return Buffer.concat([
    whole.subarray(0, head + 1),
    length,
    grown,
    Buffer.from([0x1a, 0, 0x22, 0]),
  ])
}

function varint(bytes: Buffer, at: number): { value: number; end: number } {
  const byte = bytes[at] ?? 0
  if (byte < 0x80) return { value: byte, end: at + 1 }
  const rest = varint(bytes, at + 1)
  return { value: (byte & 0x7f) + rest.value * 128, end: rest.end }
}

function makeK3sDir(given: Vector, files: { config: string; state?: string }): string {
  const dir = mkdtempSync(join(tmpdir(), "keyturn-k3s-"))
  made.push(dir)
  const at = (...path: string[]) => join(dir, "server", ...path)
  for (const sub of ["cred", "db"]) mkdirSync(at(sub), { recursive: true })
  writeFileSync(at("cred", "encryption-config.json"), files.config)
  if (files.state) writeFileSync(at("cred", "encryption-state.json"), files.state)
  writeFileSync(at("token"), `K10${"0".repeat(64)}::server:the-token-of-k3s\n`)
  const db = new DatabaseSync(at("db", "state.db"))
  db.exec(SCHEMA)
  const insert = db.prepare(
    "INSERT INTO kine(id, name, created, deleted, create_revision, prev_revision, lease, value, old_value) VALUES (?, ?, ?, 0, ?, ?, 0, ?, ?)",
  )
  insert.run(1, "compact_rev_key", 1, 0, 0, Buffer.alloc(0), null)
  insert.run(2, "/registry/configmaps/apps/cm", 1, 0, 0, CONFIG_MAP, null)
  insert.run(3, "/registry/minions/k3s-server", 1, 0, 0, nodeWithUnknownField(), null)
  for (const { etcdKey, modRevision, storedBase64 } of given.secrets) {
    const id = Number(modRevision)
    const stored = Buffer.from(storedBase64, "base64")
    // K3s wrote it twice: the older row is still there, and the newer one carries its value along.
    insert.run(id - 100, etcdKey, 1, 0, 0, stored, null)
    insert.run(id, etcdKey, 0, id - 100, id - 100, stored, stored)
  }
  db.close()
  return dir
}

const PROVIDERS = ["aescbc32", "aesgcm32", "secretbox32"] as const

test.for(PROVIDERS)(
  "a data directory that K3s wrote with %s opens, is served and turned",
  async (name) => {
    const given = vector(name)
    const dataDir = makeK3sDir(given, { config: given.encryptionConfiguration })
    await using server = await startServer({ dataDir, args: ["--node-name", "k3s-server"] })
    expect((await keyturn(server, ["secrets-encrypt", "status"])).stdout).toMatch(
      /Enabled\nCurrent Rotation Stage: start\n.*All hashes match\n[^]* \*\s+\S+\s+key1\n/,
    )
    const shown = async () => {
      for (const { etcdKey, getJson } of given.secrets) {
        const [, , , namespace, secret] = etcdKey.split("/")
        const got = await kubectl(server, [
          "get",
          "--raw",
          `/api/v1/namespaces/${namespace}/secrets/${secret}`,
        ])
        expect(JSON.parse(got.stdout), got.stderr).toEqual(JSON.parse(getJson))
      }
    }
    await shown()
    const rotated = await keyturn(server, ["secrets-encrypt", "rotate-keys"])
    expect(rotated).toMatchObject({ code: 0, stdout: "keys rotated, reencryption finished\n" })
    await shown()
    expect(await server.stop()).toBe(0)
    for (const file of ["state.db", "state.db-wal"]) {
      const path = join(dataDir, "server", "db", file)
      const bytes = statSync(path, { throwIfNoEntry: false }) ? readFileSync(path) : Buffer.alloc(0)
      expect(bytes.indexOf(`:v1:key1:`), file).toBe(-1)
    }
  },
)

test("what keyturn does not serve stays as it is, down to unknown fields", async () => {
  const given = vector("aescbc32")
  const dataDir = makeK3sDir(given, { config: given.encryptionConfiguration })
  await using server = await startServer({ dataDir, args: ["--node-name", "k3s-server"] })
  expect((await keyturn(server, ["secrets-encrypt", "rotate-keys"])).code).toBe(0)
  await kubectl(server, ["create", "namespace", "apps"])
  expect((await kubectl(server, ["delete", "namespace", "apps", "--wait=false"])).stdout).toContain(
    "deleted",
  )
  await server.stop()

  const db = new DatabaseSync(join(dataDir, "server", "db", "state.db"), { readOnly: true })
  const newest = db.prepare("SELECT value FROM kine WHERE name = ? ORDER BY id DESC LIMIT 1")
  const stored = (name: string) => Buffer.from(newest.get(name)?.value as Uint8Array)
  expect(stored("/registry/configmaps/apps/cm")).toEqual(CONFIG_MAP)
  const nodeBytes = stored("/registry/minions/k3s-server")
  expect(nodeBytes.includes(UNKNOWN_FIELD)).toBe(true)
  const after = decodeObject(nodeBytes)
  expect(after.spec).toEqual(node.spec)
  expect(after.metadata.annotations).toMatchObject(node.metadata.annotations)
  expect(after.metadata.labels).toMatchObject(node.metadata.labels)
  expect(after.status).toMatchObject({ conditions: [...node.status.conditions, { type: "Ready" }] })
  const namespace = decodeObject(stored("/registry/namespaces/apps"))
  expect(namespace.status).toMatchObject({ phase: "Terminating" })
  expect(JSON.stringify(namespace.status)).toContain("NamespaceContentRemaining")
  db.close()
})

test("the keys and the stage of a half-way rotation are taken over: K3s' next verb goes on", async () => {
  const given = vector("aescbc32")
  const other = Buffer.alloc(32, 7).toString("base64")
  const twoKeys = given.encryptionConfiguration.replace(
    "      - name: key1",
    `      - name: key2\n        secret: ${other}\n      - name: key1`,
  )
  const dataDir = makeK3sDir(given, { config: twoKeys, state: `rotate-${"0".repeat(64)}` })
  await using server = await startServer({ dataDir })
  const status = (await keyturn(server, ["secrets-encrypt", "status"])).stdout
  expect(status).toContain("Current Rotation Stage: rotate\n")
  expect(status).toMatch(/ \* +AES-CBC +key2\n +AES-CBC +key1\n/)
  expect((await keyturn(server, ["secrets-encrypt", "reencrypt", "--wait"])).code).toBe(0)
  const after = (await keyturn(server, ["secrets-encrypt", "status"])).stdout
  expect(after).toContain("Current Rotation Stage: reencrypt_finished\n")
  expect(after).not.toContain("key1")
})

test("values whose key is not in the configuration stop the start, which names them and changes nothing", async () => {
  // docs/pains.md 6
  const given = vector("aescbc32")
  const wrong = given.encryptionConfiguration.replace("name: key1", "name: key9")
  const dataDir = makeK3sDir(given, { config: wrong })
  await expect(startServer({ dataDir })).rejects.toThrow(/live-aescbc32[^]*key1/)
  const db = new DatabaseSync(join(dataDir, "server", "db", "state.db"), { readOnly: true })
  expect(
    db.prepare("SELECT count(*) AS n FROM kine WHERE name <> '/registry/health'").get()?.n,
  ).toBe(3 + 2 * given.secrets.length)
  db.close()
  expect(readFileSync(join(dataDir, "server", "cred", "encryption-config.json"), "utf8")).toBe(
    wrong,
  )
})
