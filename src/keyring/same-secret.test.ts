import { expect, test } from "vitest"
import { sameSecret } from "./same-secret.ts"

test("sameSecret compares the whole of both, whatever their lengths", () => {
  expect(sameSecret("pässword", "pässword")).toBe(true)
  for (const other of ["", "p", "pässwor", "pässwordx", "xässword"]) {
    expect(sameSecret("pässword", other), other).toBe(false)
  }
})
