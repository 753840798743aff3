import { pino } from "pino"
import { expect, test } from "vitest"
import { Background } from "./background.ts"

interface Line {
  readonly level: number
  readonly msg: string
}

function background() {
  const lines: Line[] = []
  const log = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) })
  return { lines, background: new Background(log) }
}

test("a round that fails is told, and the next one comes all the same", async () => {
  const { lines, background: runs } = background()
  const { promise, resolve } = Promise.withResolvers<void>()
  let rounds = 0
  runs.every("renewing", 1, async () => {
    rounds++
    if (rounds === 1) throw new Error("full")
    if (rounds === 3) resolve()
  })
  // The rounds keep no process alive; here the test does.
  const alive = setInterval(() => {}, 1)
  await promise
  clearInterval(alive)
  await runs.stop()
  expect(lines).toMatchObject([{ level: 40, msg: "renewing failed; tried again later" }])
  const then = rounds
  await new Promise((done) => setTimeout(done, 20))
  expect(rounds).toBe(then)
})

test("stopping waits for what runs, and takes its end for no failure", async () => {
  const { lines, background: runs } = background()
  let isEnded = false
  runs.run("watching", async (signal) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve))
    await new Promise((resolve) => setTimeout(resolve, 10))
    isEnded = true
    signal.throwIfAborted()
  })
  runs.run("counting", () => Promise.reject(new Error("lost")))
  await runs.stop()
  expect(isEnded).toBe(true)
  expect(lines).toEqual([])
})

test("a loop that ends of itself with a failure is told, and begins anew", async () => {
  const { lines, background: runs } = background()
  const { promise: begunAnew, resolve } = Promise.withResolvers<void>()
  let begun = 0
  runs.run("counting", async () => {
    if (++begun === 1) throw new Error("lost")
    resolve()
  })
  const alive = setInterval(() => {}, 1)
  await begunAnew
  clearInterval(alive)
  await runs.stop()
  expect(lines).toMatchObject([
    { level: 50, msg: "counting ended; it begins anew", err: { message: "lost" } },
  ])
})
