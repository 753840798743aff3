/** The simulator: many seeds in which nothing is found, and planted bugs which are. Each run is a process of its own, for the
 *  simulation has Node's timers for itself. */
import { execFile } from "node:child_process"
import { describe, expect, test } from "vitest"
import { BUGS } from "./planted.ts"

const SEEDS = Number(process.env.KEYTURN_TEST_SEEDS ?? 500)
const SEEDS_TIMEOUT_MS = 60_000 + SEEDS * 500
/** Most bugs are found within the first thirty, a proof that is not fenced within two hundred on average, as the code stands. */
const BUG_SEEDS = 3_000
const BUG_TIMEOUT_MS = 180_000
const base = Math.floor(Math.random() * 1_000_000_000)

interface Ended {
  readonly code: number
  readonly output: string
}

const simulate = (...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const options = { maxBuffer: 256 << 20 }
    execFile(process.execPath, ["tests/sim/main.ts", ...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code
      if (typeof code === "number") resolve({ code, output: stdout + stderr })
      else reject(error)
    })
  })

test(`I1 to I7 hold after every event, from seed ${base} on`, {
  timeout: SEEDS_TIMEOUT_MS,
}, async () => {
  const half = Math.ceil(SEEDS / 2)
  const runs = await Promise.all([
    simulate("--seed", `${base}`, "--count", `${half}`),
    simulate("--seed", `${base + half}`, "--count", `${SEEDS - half}`),
  ])
  for (const { code, output } of runs) expect(code, output).toBe(0)
})

test("one seed makes one history", async () => {
  const once = () => simulate("--seed", "7", "--count", "6", "--trace")
  const [one, other] = await Promise.all([once(), once()])
  expect(one.output.length).toBeGreaterThan(10_000)
  expect(one.output).toBe(other.output)
})

describe("a planted bug is found:", () => {
  const FINDS: Readonly<Record<keyof typeof BUGS, RegExp>> = {
    "fence-left-out": /found I2: /,
    "old-value-forgotten": /found I[46]: /,
    "conflict-counted-as-done": /found I5: /,
    "rewrite-compares-no-bytes": /found I5: /,
    "rewrite-compares-nothing": /found I[25]: /,
    "proof-not-fenced": /found I[46]: /,
    "second-pass-left-out": /found I6: /,
    "one-phase": /found I[45]: /,
    "no-second-try": /found I6: /,
  }
  test.each(Object.entries(FINDS))("%s", { timeout: BUG_TIMEOUT_MS }, async (bug, finding) => {
    const { code, output } = await simulate(
      "--seed",
      `${base}`,
      "--count",
      `${BUG_SEEDS}`,
      "--bug",
      bug,
    )
    expect(code, output).toBe(1)
    expect(output).toMatch(finding)
  })
})
