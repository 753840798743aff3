import { expect, test } from "vitest"
import { serversBehind } from "./out-of-reach.ts"
import type { ServerStatus } from "./status.ts"

const server = (name: string, epoch?: number, ready = true): ServerStatus => ({
  name,
  ready,
  flags: {},
  ...(epoch !== undefined && { epoch }),
})

/** Each look at a clock is three seconds after the one before. */
function behind(servers: () => ServerStatus[]) {
  let nowMs = 0
  const monotonicMs = () => (nowMs += 3_000)
  return serversBehind({ servers: async () => servers(), monotonicMs }, 5)
}

test("a server that has told of the keyring since is none whose files are as they were", async () => {
  const looks = [4, 4, 5]
  expect(await behind(() => [server("a", 5), server("b", looks.shift()), server("old")])).toEqual(
    [],
  )
  expect(looks).toEqual([])
})

test("one that does not answer, or tells nothing new, is named", async () => {
  const all = [server("a", 5), server("gone", 4, false), server("just-died", 4)]
  expect(await behind(() => all)).toEqual(["gone", "just-died"])
})

test("nobody is waited for where only servers that are gone are behind", async () => {
  const looks = [[server("a", 6), server("gone", 4, false)]]
  expect(await behind(() => looks.pop() ?? expect.fail("it waits"))).toEqual(["gone"])
})
