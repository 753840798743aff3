import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { armFailpoints, STEPS, step, stepSync } from "./step.ts"

/** A step that is not in the table does not compile. */
test("every step of the table is taken somewhere", () => {
  const files = globSync("**/*.ts", {
    cwd: import.meta.dirname,
    exclude: ["**/*.test.ts", "step.ts"],
  })
  const source = files.map((file) => readFileSync(join(import.meta.dirname, file), "utf8")).join()
  expect(STEPS.filter((name) => !source.includes(`"${name}"`))).toEqual([])
})

test("both sides of a step are reached, each when its time has come", async () => {
  const seen: string[] = []
  armFailpoints("batch:before@2,batch:after=SIGSTOP,token-file:after", (signal) => {
    seen.push(signal)
  })
  const commit = (name: string) => () => void seen.push(name)
  await step("batch", async () => commit("one")())
  await step("batch", async () => commit("two")())
  stepSync("token-file", commit("three"))
  expect(seen).toEqual(["one", "SIGSTOP", "SIGKILL", "two", "three", "SIGKILL"])
  await expect(step("batch", () => Promise.reject(new Error("no")))).rejects.toThrow("no")
})

test("a point at no step is told", () => {
  for (const text of ["", "batch", "batches:after", "batch:during", "batch:after=9"])
    expect(() => armFailpoints(text, () => {}), text).toThrow(`KEYTURN_FAILPOINT: ${text}`)
})
