/** A child process for the crash test: writes without end and prints each write that the store has acknowledged. */
import { writeSync } from "node:fs"
import { openSqlite } from "../../src/store/sqlite.ts"

const [path = "", round = ""] = process.argv.slice(2)
const store = openSqlite({ path })
const CLIENTS = 8

/** Creates keys, then changes each once, and deletes every third. */
async function client(name: string): Promise<never> {
  for (let turn = 0; ; turn += 1) {
    const key = `/registry/crash/${round}-${name}-${turn}`
    const value = Buffer.from(`${key} created`)
    const created = await store.create({ key, value, fence: undefined })
    if (created.outcome !== "done") throw new Error(`${key}: ${created.outcome}`)
    writeSync(1, `create ${key} ${created.revision}\n`)
    const write = { key, expected: created.revision, fence: undefined }
    const next =
      turn % 3 === 0
        ? await store.delete(write)
        : await store.update({ ...write, value: Buffer.from(`${key} updated`) })
    if (next.outcome !== "done") throw new Error(`${key}: ${next.outcome}`)
    writeSync(1, `${turn % 3 === 0 ? "delete" : "update"} ${key} ${next.revision}\n`)
  }
}

await Promise.all(Array.from({ length: CLIENTS }, (_, index) => client(`${index}`)))
