/** Secrets put straight into the file of a server that stands still, as it would have stored them itself: many times faster than
 *  by its API. */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"

const NAME = "bench-0000000"
const CONTENT = Buffer.alloc(1024, "c")
const ROWS_EACH_COMMIT = 10_000

/** What the others are made after: to be created in the namespace `default` by the API before. */
export const TEMPLATE = {
  kind: "Secret",
  apiVersion: "v1",
  metadata: { name: NAME },
  data: { value: CONTENT.toString("base64") },
}

/** Name and bytes of the AES-CBC key that writes, from the file that is written for K3s. */
export function writingKey(dataDir: string): { name: string; secret: Buffer } {
  const path = join(dataDir, "server", "cred", "encryption-config.json")
  const { resources } = JSON.parse(readFileSync(path, "utf8")) as {
    resources: { providers: { aescbc?: { keys: { name: string; secret: string }[] } }[] }[]
  }
  const key = resources[0]?.providers[0]?.aescbc?.keys[0]
  if (key === undefined) throw new Error("no aescbc key writes")
  return { name: key.name, secret: Buffer.from(key.secret, "base64") }
}

export const databaseOf = (dataDir: string): string => join(dataDir, "server", "db", "state.db")

/** Copies {@link TEMPLATE} until there are `count`: `bench-0000001` and so on, each with content and a nonce of its own. */
export function fillSqlite(dataDir: string, count: number): void {
  using db = new DatabaseSync(databaseOf(dataDir))
  db.exec("PRAGMA secure_delete = ON; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536")
  const key = writingKey(dataDir)
  const prefix = Buffer.from(`k8s:enc:aescbc:v1:${key.name}:`)
  const plaintext = templateIn(db, prefix, key.secret)
  const names = placesOf(plaintext, Buffer.from(NAME))
  const content = plaintext.indexOf(CONTENT)
  const insert = db.prepare(
    `INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value)
     VALUES (?, 1, 0, 0, 0, 0, ?)`,
  )
  db.exec("BEGIN")
  for (let n = 1; n < count; n++) {
    const name = `bench-${String(n).padStart(7, "0")}`
    for (const place of names) plaintext.write(name, place)
    randomBytes(CONTENT.length).copy(plaintext, content)
    const iv = randomBytes(16)
    const cbc = createCipheriv("aes-256-cbc", key.secret, iv)
    const value = Buffer.concat([prefix, iv, cbc.update(plaintext), cbc.final()])
    insert.run(`/registry/secrets/default/${name}`, value)
    if (n % ROWS_EACH_COMMIT === 0) db.exec("COMMIT; BEGIN")
  }
  db.exec("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
}

function templateIn(db: DatabaseSync, prefix: Buffer, secret: Buffer): Buffer {
  const row = db
    .prepare("SELECT value FROM kine WHERE name = ?")
    .get(`/registry/secrets/default/${NAME}`)
  const sealed = Buffer.from(row?.["value"] as Uint8Array).subarray(prefix.length)
  const cbc = createDecipheriv("aes-256-cbc", secret, sealed.subarray(0, 16))
  return Buffer.concat([cbc.update(sealed.subarray(16)), cbc.final()])
}

function placesOf(bytes: Buffer, searched: Buffer): number[] {
  const places: number[] = []
  for (let at = bytes.indexOf(searched); at >= 0; at = bytes.indexOf(searched, at + 1))
    places.push(at)
  return places
}
