import { expect, test } from "vitest"
import { ERRORS } from "../src/errors.ts"
import { SERVER_FLAGS } from "../src/server/flags.ts"
import { outOfDate, PAGES } from "./docs.ts"

test("the printed pages are up to date", () => {
  expect(outOfDate(), "run: npm run docs").toEqual([])
})

test("every failure and every flag has a line", () => {
  const lines = (path: string) => PAGES[path]?.().split("\n") ?? []
  for (const errorCode of Object.keys(ERRORS)) {
    const found = lines("docs/errors.md").filter((line) => line.startsWith(`| \`${errorCode}\` |`))
    expect(found, errorCode).toHaveLength(1)
  }
  for (const { name } of SERVER_FLAGS) {
    const found = lines("docs/cli.md").filter((line) => line.includes(`\`--${name}\``))
    expect(found.length, name).toBeGreaterThan(0)
  }
})
