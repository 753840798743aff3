import { expect, test } from "vitest"
import { RecentEntries } from "./recent-entries.ts"

const entry = (key: string, sizeBytes = 10) => ({
  key,
  value: Buffer.alloc(sizeBytes),
  revision: 1,
  createRevision: 1,
})

test("an entry is there until it is forgotten", () => {
  const recent = new RecentEntries()
  const a = entry("a")
  recent.add(a)
  expect(recent.get("a")).toBe(a)
  recent.forget("a")
  expect(recent.get("a")).toBeUndefined()
})

test("beyond 2 MiB those go that were not read for longest", () => {
  const recent = new RecentEntries()
  for (let n = 0; n < 32; n++) recent.add(entry(`${n}`, 65_536))
  recent.get("0")
  recent.add(entry("new", 65_536))
  expect(recent.get("0")).toBeDefined()
  expect(recent.get("1")).toBeUndefined()
  expect(recent.get("2")).toBeDefined()
})

test("what is added again counts once, and what is too large not at all", () => {
  const recent = new RecentEntries()
  for (let n = 0; n < 200; n++) recent.add(entry("same", 65_536))
  recent.add(entry("other"))
  recent.add(entry("large", 65_537))
  expect(recent.get("same")).toBeDefined()
  expect(recent.get("other")).toBeDefined()
  expect(recent.get("large")).toBeUndefined()
})
