import { expect, test } from "vitest"
import { strategicMerge } from "./strategic.ts"

test("long lists are merged in a time that grows as they do", { timeout: 10_000 }, () => {
  const items = (prefix: string) => Array.from({ length: 50_000 }, (_, n) => `a.b/${prefix}${n}`)
  const [stored, sent] = [items("x"), items("y")]
  const object = { kind: "Secret", metadata: { finalizers: stored } }
  const patched = strategicMerge(object, { metadata: { finalizers: sent } })
  expect(patched["metadata"]).toEqual({ finalizers: [...sent, ...stored] })
})
