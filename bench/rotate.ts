/** How fast does `rotate-keys` turn 10,000 Secrets of 1 KiB, end to end as a user runs it? Beside it the floor: the same rows read,
 *  opened, sealed and updated in place by a bare loop over the same SQLite settings, without a server.
 *
 *  npm run bench -- rotate [count] */
import { execFile } from "node:child_process"
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from "node:crypto"
import { copyFileSync } from "node:fs"
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

/** Milliseconds that the bare loop takes over a copy of the database. */
function floorMs(): number {
  const copy = join(dir.path, "floor.db")
  for (const suffix of ["", "-wal"]) {
    copyFileSync(join(dir.path, "server", "db", `state.db${suffix}`), copy + suffix)
  }
  const db = new DatabaseSync(copy)
  db.exec(
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA cache_size=-65536",
  )
  const read = db.prepare(
    "SELECT id, value FROM kine WHERE id > ? AND name LIKE '/registry/secrets/%' ORDER BY id LIMIT 500",
  )
  const write = db.prepare("UPDATE kine SET value = ? WHERE id = ?")
  const key = createSecretKey(randomBytes(32))
  const prefix = Buffer.from("k8s:enc:aescbc:v1:floor:")
  // The real key is the server's; opening costs the same under any other, but for the padding, which is left unchecked.
  const started = performance.now()
  for (let last = 0; ; ) {
    const rows = read.all(last)
    if (rows.length === 0) break
    db.exec("BEGIN IMMEDIATE")
    for (const { id, value } of rows) {
      const stored = Buffer.from(value as Uint8Array)
      const body = stored.subarray(stored.length - (stored.length % 16 || 16) - 1024)
      const iv = randomBytes(16)
      const open = createDecipheriv("aes-256-cbc", key, iv).setAutoPadding(false)
      const plain = Buffer.concat([
        open.update(body.subarray(0, body.length - (body.length % 16))),
        open.final(),
      ])
      const seal = createCipheriv("aes-256-cbc", key, iv)
      write.run(Buffer.concat([prefix, iv, seal.update(plain), seal.final()]), id as number)
      last = id as number
    }
    db.exec("COMMIT")
  }
  const ms = performance.now() - started
  db.close()
  return ms
}
