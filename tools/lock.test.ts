import { readFileSync } from "node:fs"
import { expect, test } from "vitest"

interface Lock {
  packages: Record<string, { resolved?: string; integrity?: string }>
}

const lock = JSON.parse(
  readFileSync(new URL("../package-lock.json", import.meta.url), "utf8"),
) as Lock

test("the lock file pins bytes by hash and names no registry", () => {
  for (const [path, { resolved, integrity }] of Object.entries(lock.packages)) {
    if (path === "") continue
    expect(resolved, `${path}: run npm install --omit-lockfile-registry-resolved`).toBeUndefined()
    expect(integrity, path).toMatch(/^sha512-/)
  }
})
