import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, test } from "vitest"
import { holds, placesIn } from "./file-search.ts"

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "keyturn-search-"))
  path = join(folder, "state.db")
})
afterEach(() => rmSync(folder, { recursive: true }))

const MIB = 1 << 20

test.each([
  ["at the start", 0],
  ["across two windows", MIB - 3],
  ["at the beginning of a window", MIB],
  ["at the end", 2.5 * MIB - 7],
])("what is searched is found %s", async (_, at) => {
  const bytes = Buffer.alloc(2.5 * MIB, "k8s:en")
  writeFileSync(path, bytes)
  const searched = [Buffer.from("k8s:enc"), Buffer.from("k8s\0")]
  expect(await holds(path, searched)).toBe(false)
  bytes.write("k8s:enc", at)
  writeFileSync(path, bytes)
  expect(await holds(path, searched)).toBe(true)
  expect(await holds(path, searched.slice(1))).toBe(false)
  expect(await holds(path, [...searched, Buffer.from("other")])).toBe(true)
})

test("each place is told once, with what follows, whatever the texts share", async () => {
  const bytes = Buffer.alloc(2 * MIB, ".")
  const at = [0, MIB - 9, MIB, MIB + 40, 2 * MIB - 12]
  for (const [n, place] of at.entries()) bytes.write(`k8s:enc:${n}`, place)
  writeFileSync(path, bytes)
  const told = async (...texts: string[]) => {
    const found: string[] = []
    const search = { texts: texts.map((text) => Buffer.from(text)), bytesMax: 9 }
    for await (const place of placesIn([path, join(folder, "none")], search))
      found.push(place.toString())
    return found.toSorted()
  }
  const all = at.map((_, n) => `k8s:enc:${n}`)
  expect(await told("k8s:enc:")).toEqual(all)
  expect(await told("k8s:enc:1", "k8s:", "k8s\0")).toEqual(all)
  expect(await told("k8s:enc:1", "k8s:enc:4")).toEqual(["k8s:enc:1", "k8s:enc:4"])
  expect(await told("k8s:enc:1", "none")).toEqual(["k8s:enc:1"])
})
