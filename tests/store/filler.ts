/** A child process with a limit on the size of its files: writes until the store refuses, and says what it saw. With "again"
 *  it writes once more then; with "scrub" it only asks for that. */
import { statSync } from "node:fs"
import { KnownError } from "../../src/errors.ts"
import { openSqlite } from "../../src/store/sqlite.ts"

const [path = "", more = ""] = process.argv.slice(2)
const codeOf = (error: unknown) => (error instanceof KnownError ? error.code : String(error))
const store = openSqlite({ path })
const value = Buffer.alloc(2_000, "x")
let made = 0
let code = ""
while (more !== "scrub" && code === "") {
  const names = Array.from({ length: 8 }, (_, index) => `/registry/filler/${made + index}`)
  const writes = names.map((key) => store.create({ key, value, fence: undefined }))
  const results = await Promise.allSettled(writes)
  const done = results.filter(({ status }) => status === "fulfilled").length
  made += done
  const [failed] = results.flatMap((result) =>
    result.status === "rejected" ? [result.reason] : [],
  )
  if (failed !== undefined) code = codeOf(failed)
  if (failed !== undefined && done > 0) code = `${code}, but ${done} of the group were done`
}
const scrub = more === "scrub" ? await store.scrub().then(() => "", codeOf) : ""
const once = { key: "/registry/again", value, fence: undefined }
const again =
  more === "again" ? await store.create(once).then(({ outcome }) => outcome, codeOf) : ""
const visible = await store.count("/registry/filler/")
const logBytes = statSync(`${path}-wal`).size
process.stdout.write(JSON.stringify({ made, code, scrub, again, visible, logBytes }))
process.exit(0) // no closing: the log stays as the failure left it
