import { expect, test } from "vitest"
import { ApiPacer } from "./pacer.ts"

test("what a batch takes is paused for, though the event loop only waits for it", async () => {
  let nowMs = 0
  const pacer = new ApiPacer(() => nowMs)
  pacer.answered({ kind: "GET", ms: 1 })
  using _ = pacer.begin({ waits: true })
  nowMs += 20
  const began = performance.now()
  await pacer.pause(AbortSignal.timeout(10_000))
  expect(performance.now() - began).toBeGreaterThan(40)
})
