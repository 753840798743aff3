/** How fast does `rotate-keys` turn 100,000 Secrets of 1 KiB, beside a bare loop over SQLite?
 *
 *  Ours is end to end, the command as a user runs it: both passes, the search of the file, the proof. The bare loop reads the same
 *  rows, opens, seals and updates them in place, in one thread, with the same settings, and no server. In the first round the
 *  key's name grows, which splits pages; the others are as every later rotation.
 *
 *  npm run bench -- rotate [count] */
import { execFile } from "node:child_process"
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from "node:crypto"
import { copyFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { promisify } from "node:util"
import { databaseOf, writingKey } from "../tests/harness/sqlite-fill.ts"
import { filledDataDir, KEYTURN, machine, median, startServer } from "./lib.ts"

const count = Number(process.argv[2] ?? 100_000)
const ROUNDS = 5

const run = promisify(execFile)
const dir = await filledDataDir(count)
const server = await startServer(dir.path)
const ours: number[] = []
const floor: number[] = []
const settled: number[] = []
const command = async (...argv: string[]): Promise<number> => {
  const started = performance.now()
  await run(KEYTURN, ["secrets-encrypt", ...argv, "--data-dir", dir.path])
  return performance.now() - started
}
try {
  await command("rotate-keys")
  for (let round = 0; round < ROUNDS; round++) {
    floor.push(count / (floorMs() / 1000))
    ours.push(count / ((await command("rotate-keys")) / 1000))
    settled.push(await command("reencrypt", "--force", "--wait"))
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
console.log(`reencrypt where nothing is to be done, median of ${ROUNDS}:`)
console.log(`  keyturn, command to command   ${median(settled).toFixed(0)} ms`)

/** Milliseconds that the bare loop takes over a copy of the database, to a key whose name is as long as the present one's. */
function floorMs(): number {
  const copy = join(dir.path, "floor.db")
  for (const suffix of ["", "-wal"]) copyFileSync(databaseOf(dir.path) + suffix, copy + suffix)
  using db = new DatabaseSync(copy)
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA secure_delete = ON; PRAGMA cache_size = -32768`)
  const read = db.prepare(
    "SELECT id, value FROM kine WHERE id > ? AND name LIKE '/registry/secrets/%' ORDER BY id LIMIT 500",
  )
  const write = db.prepare("UPDATE kine SET value = ? WHERE id = ?")
  const { name, secret } = writingKey(dir.path)
  const sealedAt = `k8s:enc:aescbc:v1:${name}:`.length
  const prefix = Buffer.from(`k8s:enc:aescbc:v1:${"f".repeat(name.length)}:`)
  const key = createSecretKey(secret)
  const next = createSecretKey(randomBytes(32))
  const started = performance.now()
  for (let last = 0; ; ) {
    const rows = read.all(last) as { id: number; value: Uint8Array }[]
    if (rows.length === 0) break
    db.exec("BEGIN IMMEDIATE")
    for (const { id, value } of rows) {
      const sealed = value.subarray(sealedAt)
      const open = createDecipheriv("aes-256-cbc", key, sealed.subarray(0, 16))
      const plain = Buffer.concat([open.update(sealed.subarray(16)), open.final()])
      const iv = randomBytes(16)
      const seal = createCipheriv("aes-256-cbc", next, iv)
      write.run(Buffer.concat([prefix, iv, seal.update(plain), seal.final()]), id)
      last = id
    }
    db.exec("COMMIT")
  }
  const ms = performance.now() - started
  rmSync(copy)
  return ms
}
