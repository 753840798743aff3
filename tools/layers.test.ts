import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { API_LAYERS, importsOf, offences } from "./layers.ts"

const src = fileURLToPath(new URL("../src", import.meta.url))

test("the imports of src/ run down", () => {
  expect(offences(importsOf(src))).toEqual([])
})

test("the imports inside src/api/ run down", () => {
  const inside = importsOf(join(src, "api")).filter(({ to }) => !to.startsWith("../"))
  expect(inside.length).toBeGreaterThan(100)
  expect(offences(inside, API_LAYERS)).toEqual([])
})

test("imports are found in every form", () => {
  const folder = mkdtempSync(join(tmpdir(), "keyturn-layers-"))
  mkdirSync(join(folder, "api"))
  const lines = [
    'import "./a.ts"',
    'import type { B } from "../format/b.ts"',
    'import {\n  c,\n} from "../c.ts"',
    'export * from "../d.ts"',
    'const e = await import("../e.ts")',
    'import pino from "pino"',
  ]
  writeFileSync(join(folder, "api/x.ts"), lines.join("\n"))
  const found = importsOf(folder).map(({ to }) => to)
  rmSync(folder, { recursive: true })
  expect(found).toEqual(["api/a.ts", "format/b.ts", "c.ts", "d.ts", "e.ts"])
})

test.each([
  ["format/a.ts", "errors.ts", []],
  ["api/a.ts", "api/b.ts", []],
  ["keyring/a.ts", "providers/b.ts", []],
  ["format/a.ts", "store/b.ts", ["format may use only format, errors"]],
  ["api/a.ts", "cli/b.ts", ["api may use only api, cluster, rewriter, registry"]],
  ["api/a.ts", "../tests/b.ts", ["src/ uses nothing outside of it"]],
  ["api/a.ts", "attic/b.ts", ['"attic" has no layer yet']],
])("%s imports %s", (from, to, expected) => {
  const found = offences([{ from, to }])
  expect(found).toHaveLength(expected.length)
  expected.forEach((why, index) => expect(found[index]).toContain(why))
})

test("rooms of one layer do not use each other in a circle", () => {
  const circle = [
    { from: "keyring/a.ts", to: "config/b.ts" },
    { from: "config/b.ts", to: "providers/c.ts" },
    { from: "providers/c.ts", to: "keyring/a.ts" },
  ]
  expect(offences(circle)).toHaveLength(3)
  expect(offences(circle.slice(0, 2))).toEqual([])
})
