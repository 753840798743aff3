/** A child process with a limit on the size of its files: writes until the store refuses, and says what it saw. */
import { KnownError } from "../../src/errors.ts"
import { openSqlite } from "../../src/store/sqlite.ts"

const [path = ""] = process.argv.slice(2)
const store = openSqlite({ path })
const value = Buffer.alloc(2_000, "x")
let made = 0
let code = ""
while (code === "") {
  const names = Array.from({ length: 8 }, (_, index) => `/registry/filler/${made + index}`)
  const writes = names.map((key) => store.create({ key, value, fence: undefined }))
  const results = await Promise.allSettled(writes)
  const done = results.filter(({ status }) => status === "fulfilled").length
  made += done
  const [failed] = results.flatMap((result) =>
    result.status === "rejected" ? [result.reason] : [],
  )
  if (failed !== undefined) code = failed instanceof KnownError ? failed.code : String(failed)
  if (failed !== undefined && done > 0) code = `${code}, but ${done} of the group were done`
}
process.stdout.write(
  JSON.stringify({ made, code, visible: await store.count("/registry/filler/") }),
)
process.exit(0) // no closing: the log stays as the failure left it
