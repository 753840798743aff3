import { expect, test } from "vitest"
import { KnownError } from "../errors.ts"
import { type AgreeOptions, onceAgreed } from "./agree.ts"

/** A verb that finds the servers disagreeing `times` times; each look takes 4 s of the clock that it reads. */
function verb(times: number, options: Partial<AgreeOptions> = {}) {
  let [asked, nowMs] = [0, 0]
  const take = async () => {
    nowMs += 4_000
    if (++asked <= times)
      throw new KnownError("HashMismatch", "hash does not match between a and b")
    return asked
  }
  const { signal } = new AbortController()
  return onceAgreed(take, { reload: "watch", monotonicMs: () => nowMs, signal, ...options })
}

test("a verb waits until servers that follow at once agree, and not for ever", async () => {
  expect(await verb(0)).toBe(1)
  expect(await verb(2)).toBe(3)
  await expect(verb(3)).rejects.toMatchObject({ code: "HashMismatch" })
})

test("it waits for nothing where servers are to be restarted, at the end of the server, or for another failure", async () => {
  await expect(verb(1, { reload: "restart" })).rejects.toMatchObject({ code: "HashMismatch" })
  await expect(verb(1, { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: "HashMismatch",
  })
  let asked = 0
  const failing = onceAgreed(
    async () => {
      asked += 1
      throw new KnownError("WrongStage", "incorrect stage")
    },
    { reload: "watch", monotonicMs: () => 0, signal: new AbortController().signal },
  )
  await expect(failing).rejects.toMatchObject({ code: "WrongStage" })
  expect(asked).toBe(1)
})
