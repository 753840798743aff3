/** A child process that writes under one fence without end and prints each acknowledged revision; ends when it is
 *  fenced. */
import { writeSync } from "node:fs"
import { pino } from "pino"
import { datastoreOf, openNow } from "../../src/server/datastore.ts"
import { NO_TLS_FILES as tls } from "../../src/store/tls-files.ts"

const [url = "", name = "", fence = ""] = process.argv.slice(2)
const setting = { text: url, where: "the argument" }
const store = await openNow(datastoreOf(setting, { standard: "", tls }), pino())
const CLIENTS = 8

async function client(lane: number): Promise<void> {
  for (let turn = 0; ; turn += 1) {
    const key = `/registry/contract/${name}-${lane}-${turn}`
    const result = await store.create({ key, value: Buffer.from(fence), fence })
    if (result.outcome !== "done") return
    writeSync(1, `${result.revision}\n`)
  }
}

await Promise.all(Array.from({ length: CLIENTS }, (_, lane) => client(lane)))
writeSync(1, "fenced\n")
await store.close()
