import { expect, test } from "vitest"
import { command } from "../../tests/harness/command.ts"
import { startSupervisor } from "../../tests/harness/supervisor.ts"
import type { Verification } from "../rewriter/verify.ts"
import { type Operation, startOperation } from "../rotation/operation.ts"

const found: Verification = {
  revision: 7,
  opened: false,
  writingkey: "new",
  live: 1,
  stored: 1,
  keys: [],
  unencrypted: { live: 0, stored: 0, infiles: 0, names: [] },
  unreadable: { stored: 0, names: [] },
  namespaces: [],
  problems: ['1 stored value under the key "old"'],
}

const running: Operation = {
  ...startOperation({
    id: "op-1",
    holder: "s1",
    kind: "rotate-keys",
    target: "new",
    retires: true,
    now: new Date("2026-11-23T21:00:00Z"),
  }),
  fence: "f",
  rows: 40,
  looked: 10,
}

const UNDER_WAY = 'rotate-keys to the key "new" is under way (30 of 40 stored rows left)'

test.each<[string, Operation | null, Verification, boolean]>([
  ["while an operation runs", running, found, true],
  ["with none", null, found, false],
  ["after one", { ...running, state: "finished" }, found, false],
  ["where all is proven", running, { ...found, problems: [] }, false],
])("what was found %s", async (_, operation, verification, isTold) => {
  await using server = await startSupervisor({
    reply: ({ request }) => ({ json: request.includes("/operation") ? operation : verification }),
  })
  const to = ["--server", server.url, "--token", server.token]
  const { code, stderr } = await command(["secrets-encrypt", "verify", ...to])
  expect(code).toBe(verification.problems.length > 0 ? 32 : 0)
  expect(stderr.includes(UNDER_WAY)).toBe(isTold)
})
