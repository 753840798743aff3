import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { openSqliteRows } from "./sqlite-rows.ts"

const folder = mkdtempSync(join(tmpdir(), "keyturn-rows-"))
afterAll(() => rmSync(folder, { recursive: true }))

test("a file that cannot be read is told with its reason, as the store tells it", async () => {
  const path = join(folder, "state.db")
  writeFileSync(path, Buffer.alloc(8192, "no database"))
  await expect(openSqliteRows(path)).rejects.toMatchObject({ code: "StoreCorrupt" })
})
