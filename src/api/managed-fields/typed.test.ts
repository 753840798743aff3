import { expect, test } from "vitest"
import { any, type Type } from "./schema.ts"
import { merge } from "./typed.ts"

test("long lists are merged in a time that grows as they do", { timeout: 10_000 }, () => {
  const finalizers: Type = { is: "list", item: any, by: "value" }
  const items = Array.from({ length: 250_000 }, (_, n) => `a.b/${n}`)
  expect(merge(finalizers, items, [...items])).toEqual(items)
})
