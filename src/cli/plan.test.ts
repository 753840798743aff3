import { expect, test } from "vitest"
import { command } from "../../tests/harness/command.ts"
import { startSupervisor } from "../../tests/harness/supervisor.ts"
import type { Plan } from "../rewriter/plan.ts"

const plan: Plan = {
  verb: "rotate-keys",
  blocked: null,
  work: {
    secrets: 10,
    rows: 40,
    values: 20,
    bytes: 4096,
    batches: 2,
    events: 0,
    seconds: 0.34,
    secondsBeside: 73.2,
    unreadable: 0,
    unreadableNames: [],
  },
}

async function planned(answer: Plan, ...argv: readonly string[]) {
  await using server = await startSupervisor({ reply: () => ({ json: answer }) })
  const to = ["--server", server.url, "--token", server.token]
  const outcome = await command(["secrets-encrypt", "plan", ...argv, ...to])
  const stderr = outcome.stderr.replace(server.url, "URL")
  return { ...outcome, stderr, asked: server.received.map(({ request }) => request) }
}

test("plan asks of rotate-keys, and prints what that would do", async () => {
  expect(await planned(plan)).toEqual({
    code: 0,
    asked: ["GET /v1-keyturn/encrypt/plan?verb=rotate-keys"],
    stderr: "",
    stdout: `Verb: rotate-keys
Would Go: yes
Secrets: 10
Values To Rewrite: 20 of 40 rows, 4096 bytes, in 2 batches
Unreadable Values: 0
Watch Events: 0
Time: about 0.3 s, beside requests 1 min 13 s
`,
  })
})

test("plan of a verb that would be refused prints why and ends as the verb does", async () => {
  const blocked = { code: "RotationUnderWay", message: "another one is under way" } as const
  const { asked, ...outcome } = await planned({ verb: "disable", blocked, work: null }, "disable")
  expect(asked).toEqual(["GET /v1-keyturn/encrypt/plan?verb=disable"])
  expect(outcome).toEqual({
    code: 12,
    stdout: "Verb: disable\nWould Go: no, RotationUnderWay\n",
    stderr:
      "keyturn: error: another one is under way\nkeyturn: hint: run: keyturn secrets-encrypt status --server URL, then try again\n",
  })
})

test("where nothing would be rewritten it says so", async () => {
  const { code, stdout } = await planned({ verb: "prepare", blocked: null, work: null }, "prepare")
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: "Verb: prepare\nWould Go: yes\nValues To Rewrite: 0\n",
  })
})

test("-o json prints what the server answered", async () => {
  const { code, stdout } = await planned(plan, "-o", "json")
  expect({ code, ...JSON.parse(stdout) }).toEqual({ code: 0, ...plan })
})
