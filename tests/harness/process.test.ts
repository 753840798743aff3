import { expect, test } from "vitest"
import { Program, run, until } from "./process.ts"

const node = process.execPath
const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test("run gives input, takes both outputs and the exit code", async () => {
  const script = 'process.stdin.pipe(process.stdout); console.error("E"); process.exitCode = 7'
  expect(await run(node, ["-e", script], { stdin: "in" })).toEqual({
    stdout: "in",
    stderr: "E\n",
    code: 7,
  })
})

test("a signal is an exit code as in a shell", async () => {
  expect((await run("sh", ["-c", "kill -9 $$"])).code).toBe(137)
})

test("a program that is not there is an error, not a hang", async () => {
  await expect(run("keyturn-no-such-program", [])).rejects.toThrow("ENOENT")
})

test("a program that takes too long is ended, and the error holds what it said", async () => {
  const endless = ["-c", "echo $$; exec sleep 60"]
  const failure = await run("sh", endless, { timeoutMs: 300 }).then(
    () => "it ended",
    (error: Error) => error.message,
  )
  expect(failure).toContain("ran for more than 300 ms")
  expect(isAlive(Number(/^\d+$/m.exec(failure)?.[0]))).toBe(false)
})

test("a program ends with the block that uses it", async () => {
  let pid = 0
  {
    await using sleep = new Program("sleep", ["60"])
    pid = sleep.pid
    expect(isAlive(pid)).toBe(true)
  }
  expect(isAlive(pid)).toBe(false)
})

test("until returns what it waited for, and names what did not come", async () => {
  let looks = 0
  expect(await until(() => (++looks === 3 ? "third" : null), { intervalMs: 1 })).toBe("third")
  const never = until(() => false, { timeoutMs: 10, what: "the impossible" })
  await expect(never).rejects.toThrow("not within 10 ms: the impossible")
})
