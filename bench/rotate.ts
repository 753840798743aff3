/** How fast does `rotate-keys` turn 10,000 Secrets of 1 KiB, beside a bare loop over SQLite?
 *
 *  Ours is end to end, the command as a user runs it: both passes, the proof, the cleared file. The bare loop reads the same rows,
 *  opens, seals and updates them in place, with the same settings and no server.
 *
 *  npm run bench -- rotate [count] */
import { execFile } from "node:child_process"
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from "node:crypto"
import { copyFileSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { promisify } from "node:util"
import { KEYTURN, loadSecrets, machine, median, newDataDir, startServer } from "./lib.ts"

const count = Number(process.argv[2] ?? 10_000)
const ROUNDS = 5

const run = promisify(execFile)
const dir = newDataDir()
const server = await startServer(dir.path)
const ours: number[] = []
const floor: number[] = []
try {
  await loadSecrets(server, { count })
  for (let round = 0; round < ROUNDS; round++) {
    floor.push(count / (floorMs() / 1000))
    const started = performance.now()
    await run(KEYTURN, ["secrets-encrypt", "rotate-keys", "--data-dir", dir.path])
    ours.push(count / ((performance.now() - started) / 1000))
  }
} finally {
  await server.stop()
  dir.remove()
}
const [a, b] = [median(ours), median(floor)]
console.log(machine())
console.log(`rotate-keys, ${count} Secrets of 1 KiB, median of ${ROUNDS}:`)
console.log(`  keyturn, command to command   ${a.toFixed(0)} Secrets/s`)
console.log(`  bare loop over SQLite         ${b.toFixed(0)} Secrets/s`)
console.log(`  ratio                         ${(a / b).toFixed(2)}`)

/** Milliseconds that the bare loop takes over a copy of the database, under the key that the server wrote it with. */
function floorMs(): number {
  const db = new DatabaseSync(copyOfDatabase())
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON")
  const read = db.prepare(
    "SELECT id, value FROM kine WHERE id > ? AND name LIKE '/registry/secrets/%' ORDER BY id LIMIT 500",
  )
  const write = db.prepare("UPDATE kine SET value = ? WHERE id = ?")
  const { name, secret } = writingKey()
  const sealedAt = `k8s:enc:aescbc:v1:${name}:`.length
  const prefix = Buffer.from("k8s:enc:aescbc:v1:floor:")
  const next = createSecretKey(randomBytes(32))
  const started = performance.now()
  for (let last = 0; ; ) {
    const rows = read.all(last) as { id: number; value: Uint8Array }[]
    if (rows.length === 0) break
    db.exec("BEGIN IMMEDIATE")
    for (const { id, value } of rows) {
      const sealed = value.subarray(sealedAt)
      const open = createDecipheriv("aes-256-cbc", secret, sealed.subarray(0, 16))
      const plain = Buffer.concat([open.update(sealed.subarray(16)), open.final()])
      const iv = randomBytes(16)
      const seal = createCipheriv("aes-256-cbc", next, iv)
      write.run(Buffer.concat([prefix, iv, seal.update(plain), seal.final()]), id)
      last = id
    }
    db.exec("COMMIT")
  }
  const ms = performance.now() - started
  db.close()
  return ms
}

function copyOfDatabase(): string {
  const copy = join(dir.path, "floor.db")
  for (const suffix of ["", "-wal"]) {
    copyFileSync(join(dir.path, "server", "db", `state.db${suffix}`), copy + suffix)
  }
  return copy
}

function writingKey(): { name: string; secret: KeyObject } {
  const path = join(dir.path, "server", "cred", "encryption-config.json")
  const { resources } = JSON.parse(readFileSync(path, "utf8")) as {
    resources: { providers: { aescbc: { keys: { name: string; secret: string }[] } }[] }[]
  }
  const key = resources[0]?.providers[0]?.aescbc.keys[0]
  if (key === undefined) throw new Error("no aescbc key writes")
  return { name: key.name, secret: createSecretKey(Buffer.from(key.secret, "base64")) }
}
