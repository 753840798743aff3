/** Which live values of a database end by themselves, and after how many seconds. */
import { DatabaseSync } from "node:sqlite"
import { storeError } from "./sqlite-errors.ts"

export function leasesOf(path: string): Map<string, number> {
  try {
    using db = new DatabaseSync(path, { readOnly: true })
    const rows = db
      .prepare(
        `SELECT name, lease FROM kine AS k WHERE lease > 0 AND deleted = 0 AND typeof(name) = 'text'
         AND id = (SELECT MAX(id) FROM kine WHERE name = k.name)`,
      )
      .all() as { name: string; lease: number }[]
    return new Map(rows.map(({ name, lease }) => [name, lease]))
  } catch (error) {
    throw storeError(path, error)
  }
}
