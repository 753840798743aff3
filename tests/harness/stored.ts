/** What lies on a test server's disk: the rows of its database, and every file. Read beside the running server. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"

/** A value under a key with a name of K3s': `k8s:enc:aescbc:v1:aescbckey-2026-11-23T21:00:00Z:`. */
const SEALED = /^k8s:enc:(\w+:v1:\w+(?:-[\dT:-]{19}(?:Z|[+-]\d\d:\d\d))?):/

/** How many stored byte strings of Secrets (values and old values, history too) are under what: `aescbc:v1:aescbckey`, or
 *  `plain`. */
export function censusOfSecrets(dataDir: string): Record<string, number> {
  using database = new DatabaseSync(join(dataDir, "server/db/state.db"), { readOnly: true })
  const rows = database
    .prepare("SELECT value, old_value FROM kine WHERE name LIKE '/registry/secrets/%'")
    .all() as { value: Uint8Array | null; old_value: Uint8Array | null }[]
  return censusOf(rows.flatMap(({ value, old_value }) => [value, old_value]))
}

export function censusOf(stored: readonly (Uint8Array | null)[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const bytes of stored) {
    if (bytes === null || bytes.length === 0) continue
    const [, under = "plain"] = SEALED.exec(Buffer.from(bytes).toString("latin1")) ?? []
    counts[under] = (counts[under] ?? 0) + 1
  }
  return counts
}

/** Path below `folder` → bytes, symbolic links left out. */
export function filesBelow(folder: string): Map<string, Buffer> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  return new Map(
    entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(folder.length + 1), readFileSync(path)]),
  )
}
