import { expect, test } from "vitest"
import { command } from "../../tests/harness/command.ts"
import { startSupervisor } from "../../tests/harness/supervisor.ts"
import type { KeyListed } from "../server/key-list.ts"

const keys: KeyListed[] = [
  {
    name: "a name with blanks",
    provider: "secretbox",
    state: "archived",
    created: "2026-01-02T03:04:05.678Z",
    ageseconds: 400 * 86_400,
    storedvalues: 0,
  },
  {
    name: "aesgcmkey-2026-11-24T00:00:08Z",
    provider: "aesgcm",
    state: "writing",
    created: "2026-11-24T00:00:08.001Z",
    ageseconds: 90,
    storedvalues: 1234,
    writes: 3000,
    writesmax: 200000,
  },
]

async function listed(...flags: readonly string[]) {
  await using server = await startSupervisor({ reply: () => ({ json: keys }) })
  const to = ["--server", server.url, "--token", server.token]
  return await command(["secrets-encrypt", "keys", ...flags, ...to])
}

test("keys prints a table in the style of status, the name last", async () => {
  expect(await listed()).toEqual({
    code: 0,
    stderr: "",
    stdout: `State     Key Type           Created               Age   Stored Values  Writes          Name
-----     --------           -------               ---   -------------  ------          ----
archived  XSalsa20-POLY1305  2026-01-02T03:04:05Z  400d  0              -               a name with blanks
writing   AES-GCM            2026-11-24T00:00:08Z  90s   1234           3000 of 200000  aesgcmkey-2026-11-24T00:00:08Z
`,
  })
})

test("a name that no key has is refused before it is asked for again", async () => {
  await using server = await startSupervisor({ reply: () => ({ json: keys }) })
  const questions: string[] = []
  const ask = async (question: string) => {
    questions.push(question)
    return "another name"
  }
  const to = ["--server", server.url, "--token", server.token]
  const destroy = (name: string) =>
    command(["secrets-encrypt", "keys", "destroy", name, ...to], { ask })
  expect(await destroy("nosuch")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('there is no key "nosuch"'),
  })
  expect(questions).toEqual([])
  expect(await destroy("a name with blanks")).toMatchObject({ code: 2 })
  expect(questions).toHaveLength(1)
  expect(server.received.map(({ request }) => request)).toEqual(
    Array.from({ length: 2 }, () => "GET /v1-keyturn/encrypt/keys"),
  )
})

test("-o json prints what the server answered", async () => {
  const { code, stdout } = await listed("-o", "json")
  expect({ code, ...JSON.parse(stdout) }).toEqual({ code: 0, keys })
})
