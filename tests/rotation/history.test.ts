/** The history through the real keyring, rewriter and SQLite. */
import { expect, test } from "vitest"
import { CALLER } from "../harness/verbs.ts"
import { cluster, secret, SECRETS } from "./cluster.ts"

test("the history tells of every verb that changed something, in the commit that does it", async () => {
  const { keys, registry, take, run } = await cluster()
  await registry.create(SECRETS, { namespace: "default", name: "s" }, secret("s", "x"))
  await take("enable")
  const [begun] = await keys.history()
  const server = "server-1"
  const enable = { verb: "enable", ...CALLER, server, target: "aescbckey" }
  expect(begun).toMatchObject({ ...enable, outcome: "running", ended: null, proof: null })
  await run()
  const counts = { aescbckey: 1 }
  expect(await keys.history()).toMatchObject([
    { ...enable, id: begun?.id, outcome: "finished", rewritten: 1, proof: { counts } },
  ])
  await take("enable")
  await take("prepare")
  await take("rotate")
  await take("reencrypt")
  await run()
  const [, prepare, rotate, reencrypt, ...more] = await keys.history()
  const target = keys.view.record.keyring.writer
  expect(prepare).toMatchObject({ verb: "prepare", target, outcome: "finished", proof: null })
  expect(rotate).toMatchObject({ verb: "rotate", target, outcome: "finished", proof: null })
  expect(reencrypt).toMatchObject({
    verb: "reencrypt",
    target,
    outcome: "finished",
    retired: ["aescbckey"],
    proof: { fence: keys.view.record.fence, counts: { aescbckey: 0, [target ?? ""]: 1 } },
  })
  expect(more).toEqual([])
})

test("a verb that takes a rewrite over ends it in the history", async () => {
  const { keys, take, run } = await cluster()
  await take("enable")
  await take("disable")
  await run()
  const [enable, disable] = await keys.history()
  expect(enable).toMatchObject({ outcome: "superseded", endedBy: disable?.id })
  expect(disable).toMatchObject({ verb: "disable", target: null, outcome: "finished" })
})

test("a damaged history stops nobody: it begins again", async () => {
  const { store, keys, take, run } = await cluster()
  await take("enable")
  await store.step({ compare: [], put: [{ name: "history", value: Buffer.from("{") }] })
  expect(await keys.history()).toEqual([])
  expect(await run()).toMatchObject({ state: "finished" })
  await take("rotate-keys")
  await run()
  expect(await keys.history()).toMatchObject([{ verb: "rotate-keys", outcome: "finished" }])
})
