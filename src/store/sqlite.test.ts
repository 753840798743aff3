import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { storeContract } from "../../tests/contract/store.contract.ts"
import { openSqlite } from "./sqlite.ts"

storeContract("sqlite", async () => {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-store-"))
  const store = openSqlite({ path: join(folder, "state.db") })
  const cleanup = async (): Promise<void> => {
    await store.close()
    rmSync(folder, { recursive: true })
  }
  return { store, cleanup }
})
