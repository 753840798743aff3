/** What lies on a test server's disk: the rows of its database, and every file. Read beside the running server. */
import { createDecipheriv } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"

/** A value under a key with a name of K3s': `k8s:enc:aescbc:v1:aescbckey-2026-11-23T21:00:00Z:`. */
const SEALED = /^k8s:enc:(\w+:v1:\w+(?:-[\dT:-]{19}(?:Z|[+-]\d\d:\d\d))?):/

/** For a database server: the rows of Secrets, set aside, and put back in the place of those with the same ids. */
export const KEEP_SECRETS = `DROP TABLE IF EXISTS secrets_then;
  CREATE TABLE secrets_then AS SELECT * FROM kine WHERE name LIKE '/registry/secrets/%'`
export const PUT_SECRETS_BACK = `BEGIN; DELETE FROM kine WHERE id IN (SELECT id FROM secrets_then);
  INSERT INTO kine SELECT * FROM secrets_then; COMMIT`

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

/** Opens a value of `name` by the keys in an encryption-config.json, and by no code of ours. Throws where it does not open, or
 *  is no object of that name. */
export function openStored(
  bytes: Buffer,
  { config, name }: { config: string; name: string },
): void {
  const { resources } = JSON.parse(readFileSync(config, "utf8")) as {
    resources: { providers: { aescbc?: { keys: { name: string; secret: string }[] } }[] }[]
  }
  const keys = resources.flatMap(({ providers }) =>
    providers.flatMap((one) => one.aescbc?.keys ?? []),
  )
  const prefix = (key: string) => Buffer.from(`k8s:enc:aescbc:v1:${key}:`)
  const under = keys.find((key) => bytes.indexOf(prefix(key.name)) === 0)
  if (under === undefined) throw new Error(`${name}: no key of ${config} is the one it is under`)
  const sealed = bytes.subarray(prefix(under.name).length)
  const secret = Buffer.from(under.secret, "base64")
  const cbc = createDecipheriv("aes-256-cbc", secret, sealed.subarray(0, 16))
  const plaintext = Buffer.concat([cbc.update(sealed.subarray(16)), cbc.final()])
  if (plaintext.subarray(0, 4).toString() !== "k8s\0" || !plaintext.includes(name))
    throw new Error(`${name}: what opened is another object, or none`)
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
