/** System programs that tests need. `npm test` brings them (scripts/system-programs); where one is missing all the same, the
 *  test is skipped with the reason. */

import { beforeEach } from "vitest"
import { run } from "./process.ts"

const PROGRAMS = {
  kubectl: {
    args: ["version", "--client", "-o", "json"],
    fits: (stdout: string) => Number(/"minor": "(\d+)/.exec(stdout)?.[1]) >= 28,
    wanted: "kubectl 1.28 or later",
  },
  openssl: { args: ["version"], fits: () => true, wanted: "openssl" },
} as const

type ProgramName = keyof typeof PROGRAMS

/** Why `name` cannot be used here; undefined where it can. */
async function missing(name: ProgramName): Promise<string | undefined> {
  const { args, fits, wanted } = PROGRAMS[name]
  try {
    const { code, stdout } = await run(name, args)
    if (code === 0 && fits(stdout)) return undefined
  } catch {
    // not on PATH
  }
  return `${wanted} is not on PATH; run the tests with: npm test`
}

/** At the top of a test file or of a describe block. */
export function needs(...names: readonly ProgramName[]): void {
  const reasons = Promise.all(names.map(missing))
  beforeEach(async ({ skip }) => {
    const reason = (await reasons).find((found) => found !== undefined)
    skip(reason !== undefined, reason)
  })
}
