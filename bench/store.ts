/** What the store costs beside bare SQLite on the same disk: node bench/store.ts. One line a question: ours, bare, ratio.
 *  The bare side has the same table, the same values of 1 KiB and the same durability, and does nothing else. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openFile } from "../src/store/sqlite-file.ts"
import { openSqlite } from "../src/store/sqlite.ts"

const CREATES = 2_000
const CLIENTS = 32
const LISTED = 5_000
const GETS = 50_000
const ROUNDS = 5
const value = Buffer.alloc(1024, "x")

const folder = mkdtempSync(join(tmpdir(), "keyturn-bench-"))
const store = openSqlite({ path: join(folder, "ours.db") })
const bare = openFile(join(folder, "bare.db"))
const insert = bare.prepare(
  `INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value)
   VALUES (?, 1, 0, 0, 0, 0, ?)`,
)

/** Units a second, the median of some rounds. */
async function rate(units: number, work: (round: number) => unknown): Promise<number> {
  const rates: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = performance.now()
    await work(round)
    rates.push((units / (performance.now() - start)) * 1000)
  }
  return rates.toSorted((a, b) => a - b)[ROUNDS >> 1] ?? 0
}

function print(question: string, sides: { ours: number; bare: number }): void {
  const [ours, raw] = [Math.round(sides.ours), Math.round(sides.bare)].map((side) =>
    `${side}/s`.padStart(10),
  )
  const ratio = (sides.ours / sides.bare).toFixed(2)
  process.stdout.write(`${question.padEnd(34)} ours ${ours}   bare ${raw}   ratio ${ratio}\n`)
}

const create = async (name: string): Promise<void> => {
  await store.create({ key: `/registry/${name}`, value, fence: undefined })
}

const commits = await rate(CREATES, (round) => {
  for (let index = 0; index < CREATES; index += 1) insert.run(`/registry/${round}/${index}`, value)
})
const alone = await rate(CREATES, async (round) => {
  for (let index = 0; index < CREATES; index += 1) await create(`alone/${round}/${index}`)
})
const together = await rate(CREATES, (round) =>
  Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      for (let index = client; index < CREATES; index += CLIENTS) {
        await create(`together/${round}/${index}`)
      }
    }),
  ),
)
print("durable create, one client", { ours: alone, bare: commits })
print(`durable create, ${CLIENTS} clients`, { ours: together, bare: commits })

for (let index = 0; index < LISTED; index += 500) {
  const names = Array.from({ length: 500 }, (_, step) => `list/${index + step}`)
  bare.exec("BEGIN")
  for (const name of names) insert.run(`/registry/${name}`, value)
  bare.exec("COMMIT")
  await Promise.all(names.map(create))
}

const byName = bare.prepare("SELECT id, value FROM kine WHERE name = ? ORDER BY id DESC LIMIT 1")
const bareGets = await rate(GETS, () => {
  for (let index = 0; index < GETS; index += 1) byName.get(`/registry/list/${index % LISTED}`)
})
const gets = await rate(GETS, async () => {
  for (let index = 0; index < GETS; index += 1) await store.get(`/registry/list/${index % LISTED}`)
})
print("get by key", { ours: gets, bare: bareGets })

const all = bare.prepare(
  "SELECT id, name, value FROM kine WHERE name >= '/registry/list/' AND name < '/registry/list0'",
)
const bareLists = await rate(1, () => all.all())
const lists = await rate(1, () => store.list({ prefix: "/registry/list/" }))
print(`list of ${LISTED}`, { ours: lists, bare: bareLists })
process.stdout.write(`one list of ${LISTED} takes ${(1000 / lists).toFixed(1)} ms\n`)

const upTo = await store.revision()
const rows = await rate(upTo, async () => {
  for (let batch = { rows: [{}], cursor: "" }; batch.rows.length > 0; ) {
    batch = await store.rows({ cursor: batch.cursor, limit: 500 })
  }
})
const scan = bare.prepare("SELECT id, name, value, old_value FROM kine WHERE id > ? LIMIT 500")
const bareRows = await rate(upTo, () => {
  for (let after = 0; after < upTo; ) after = Number(scan.all(after).at(-1)?.["id"] ?? upTo)
})
print("rows in batches of 500", { ours: rows, bare: bareRows })

await store.close()
bare.close()
rmSync(folder, { recursive: true })
