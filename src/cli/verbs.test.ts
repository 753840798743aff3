import { expect, test } from "vitest"
import { command } from "../../tests/harness/command.ts"
import { type Received, type Reply, startSupervisor } from "../../tests/harness/supervisor.ts"
import { ERRORS } from "../errors.ts"
import { entryOf, type HistoryEntry } from "../rotation/history.ts"
import { type Operation, type OperationSeen, startOperation } from "../rotation/operation.ts"

const CONFIG = "PUT /v1-keyturn/encrypt/config"
const HISTORY = "GET /v1-keyturn/encrypt/history"

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
const finished: Operation = {
  ...running,
  state: "finished",
  ended: "2026-11-23T21:00:01.700Z",
  rewritten: 40,
  retired: ["old"],
}

/** Answers a verb with `id`, and each look at the operation with the next of `operations`, the last one again and again. */
function script(
  id: string | null,
  operations: readonly (Operation | null)[],
  history: readonly HistoryEntry[] = [],
) {
  let looks = 0
  return ({ request }: Received): Reply => {
    if (request === CONFIG) return { json: { operation: id } }
    if (request === HISTORY) return { json: history }
    return { json: operations[Math.min(looks++, operations.length - 1)] }
  }
}

async function take(argv: readonly string[], reply: (received: Received) => Reply) {
  await using server = await startSupervisor({ reply })
  const all = ["secrets-encrypt", ...argv, "--server", server.url, "--token", server.token]
  const outcome = await command(all)
  return { ...outcome, received: server.received }
}

const taken = { force: false, skip: false }

test.each<[string, object, string]>([
  ["enable", { enable: true }, "secrets-encryption enabled"],
  ["disable", { enable: false }, "secrets-encryption disabled"],
  ["prepare", { stage: "prepare" }, "prepare completed successfully"],
  ["prepare -f", { stage: "prepare", force: true }, "prepare completed successfully"],
  ["rotate", { stage: "rotate" }, "rotate completed successfully"],
  ["rotate --force", { stage: "rotate", force: true }, "rotate completed successfully"],
  ["reencrypt", { stage: "reencrypt_active" }, "reencryption started"],
  [
    "reencrypt -f --skip",
    { stage: "reencrypt_active", force: true, skip: true },
    "reencryption started",
  ],
  ["reencrypt --vacuum", { stage: "reencrypt_active", vacuum: true }, "reencryption started"],
  [
    "rotate-keys --vacuum --no-wait",
    { stage: "rotate_keys", vacuum: true },
    "keys rotated, reencryption started",
  ],
  ["reencrypt --no-wait", { stage: "reencrypt_active" }, "reencryption started"],
  ["rotate-keys --no-wait", { stage: "rotate_keys" }, "keys rotated, reencryption started"],
  ["abort", { stage: "abort" }, "rotation aborted"],
])("%s asks %j and prints K3s' line", async (words, asked, line) => {
  const { received, ...outcome } = await take(words.split(" "), script("op-1", []))
  expect(outcome).toEqual({ code: 0, stdout: `${line}\n`, stderr: "" })
  expect(received.map(({ request, body }) => [request, body])).toEqual([
    [CONFIG, { ...taken, ...asked }],
  ])
})

test.each([
  ["rotate-keys", "rotate-keys", "keys rotated, reencryption finished\n"],
  ["rotate-keys --wait", "rotate-keys", "keys rotated, reencryption finished\n"],
  ["reencrypt --wait", "reencrypt", "reencryption started\nreencryption finished\n"],
  ["enable --wait", "enable", "secrets-encryption enabled\nreencryption finished\n"],
  ["disable --wait", "disable", "secrets-encryption disabled\nreencryption finished\n"],
] as const)("%s waits for the end of its operation", async (words, kind, stdout) => {
  const looks = [running, running, finished].map((operation) => ({ ...operation, kind }))
  const { received, ...outcome } = await take(words.split(" "), script("op-1", looks))
  const stderr = 'keyturn: rewrote 40 stored values in 1.70 s; retired "old"\n'
  expect(outcome).toEqual({ code: 0, stdout, stderr })
  expect(received).toHaveLength(4)
})

test("of a rewrite that was resumed it says what it rewrote at least", async () => {
  const { stderr } = await take(["rotate-keys"], script("op-1", [{ ...finished, resumed: true }]))
  expect(stderr).toContain("keyturn: rewrote at least 40 stored values in 1.70 s;")
})

const reencrypting = { ...running, kind: "reencrypt" } as const

test("a verb that was taken before waits for the operation that it started then", async () => {
  const looks = [reencrypting, { ...finished, kind: "reencrypt" } as const]
  const { received, code } = await take(["reencrypt", "--wait"], script(null, looks))
  expect({ code, looks: received.length }).toEqual({ code: 0, looks: 3 })
})

test.each([
  ["reencrypt", "reencryption started"],
  ["enable", "secrets-encryption enabled"],
])(
  "%s --wait that started nothing waits for what runs, of another verb too",
  async (verb, line) => {
    const { received, ...outcome } = await take([verb, "--wait"], script(null, [running, finished]))
    expect(outcome).toEqual({
      code: 0,
      stdout: `${line}\nreencryption finished\n`,
      stderr: 'keyturn: rewrote 40 stored values in 1.70 s; retired "old"\n',
    })
    expect(received).toHaveLength(3)
  },
)

test("of a verb that was given again after its operation had ended it is said, and still what stayed behind", async () => {
  const { received: _, ...outcome } = await take(["rotate-keys"], script(null, [finished]))
  const stderr = "keyturn: nothing to do: rotate-keys had been taken before\n"
  expect(outcome).toEqual({ code: 0, stdout: "keys rotated, reencryption finished\n", stderr })
  const kept = { ...finished, kept: { old: 3 } }
  const again = await take(["rotate-keys"], script(null, [kept]))
  expect(again.code).toBe(ERRORS.KeyStillNeeded.exit)
})

test("what a verb that started nothing waits for may end without success", async () => {
  const kept = { ...finished, retired: [], kept: { old: 3 } }
  const { code } = await take(["reencrypt", "--wait"], script(null, [running, kept]))
  expect(code).toBe(ERRORS.KeyStillNeeded.exit)
  const aborted = { ...running, state: "aborted" } as const
  const { stderr } = await take(["reencrypt", "--wait"], script(null, [running, aborted]))
  expect(stderr).toContain("keyturn: error: rotate-keys did not end: it was aborted\n")
})

test.each([
  ["none", null],
  ["one of another verb", finished],
])("a verb that started nothing waits for nothing: the last operation is %s", async (_, last) => {
  const { received, ...outcome } = await take(["reencrypt", "--wait"], script(null, [last]))
  expect(outcome).toEqual({
    code: 0,
    stdout: "reencryption started\nreencryption finished\n",
    stderr: "",
  })
  expect(received).toHaveLength(2)
})

const unreadable = Array.from({ length: 2 }, (_, n) => ({
  key: `/registry/secrets/ns/s${n}`,
  why: 'no key "lost"',
}))

test.each<[string, Partial<Operation>, string]>([
  [
    "a key that is still needed",
    { retired: [], kept: { old: 3 } },
    'the key "old" is kept for 3 stored values',
  ],
  [
    "values that do not open",
    { unreadable: 3, unreadableNames: [...unreadable, ...unreadable.slice(1)] },
    'cannot rewrite 3 stored values: /registry/secrets/ns/s0: no key "lost", /registry/secrets/ns/s1: no key "lost"',
  ],
  [
    "both, and more values than names",
    { kept: { old: 1, older: 2 }, unreadable: 102, unreadableNames: unreadable.slice(1) },
    'the key "old" is kept for 1 stored value; the key "older" is kept for 2 stored values; cannot rewrite 102 stored values: /registry/secrets/ns/s1: no key "lost", and 101 more',
  ],
])("an operation that ends with %s is a failure", async (_, left, message) => {
  const { code, stdout, stderr } = await take(
    ["rotate-keys"],
    script("op-1", [{ ...finished, ...left }]),
  )
  expect({ code, stdout }).toEqual({ code: ERRORS.KeyStillNeeded.exit, stdout: "" })
  expect(stderr).toContain(`keyturn: error: ${message}\n`)
})

test.each<[string, Operation | null]>([
  ["superseded", { ...running, state: "superseded" }],
  ["another's", { ...finished, id: "op-2" }],
  ["gone", null],
])("an operation that is %s did not end, whatever came after it", async (_, seen) => {
  const { code, stdout } = await take(["rotate-keys"], script("op-1", [running, seen]))
  expect({ code, stdout }).toEqual({ code: ERRORS.RotationUnderWay.exit, stdout: "" })
})

test.each<[string, Partial<HistoryEntry>, number, string]>([
  [
    "was finished",
    { outcome: "finished", retired: ["old"] },
    0,
    'rewrote 40 stored values in 1.70 s; retired "old"',
  ],
  [
    "kept a key",
    { outcome: "finished", kept: { old: 1 } },
    ERRORS.KeyStillNeeded.exit,
    'the key "old" is kept for 1 stored value',
  ],
  [
    "left values",
    { outcome: "finished", unreadable: 2 },
    ERRORS.KeyStillNeeded.exit,
    "cannot rewrite 2 stored values\n",
  ],
  [
    "was aborted",
    { outcome: "aborted" },
    ERRORS.RotationAborted.exit,
    "rotate-keys did not end: it was aborted",
  ],
  [
    "was superseded",
    { outcome: "superseded" },
    ERRORS.RotationUnderWay.exit,
    "another verb took it over",
  ],
])(
  "an operation that %s before another took its place ended as history tells",
  async (_, told, exit, says) => {
    const entry = {
      ...entryOf({
        id: "op-1",
        verb: "rotate-keys",
        caller: { user: "server", address: "127.0.0.1" },
        server: "s1",
        target: "new",
        now: new Date("2026-11-23T21:00:00Z"),
      }),
      ended: "2026-11-23T21:00:01.700Z",
      rewritten: 40,
      ...told,
    }
    const others = { ...running, id: "op-2" }
    const { code, stderr } = await take(["rotate-keys"], script("op-1", [running, others], [entry]))
    expect(code).toBe(exit)
    expect(stderr).toContain(says)
  },
)

test("a server that is away for a moment is waited for while it rewrites", async () => {
  let cut = 2
  const answers = script("op-1", [running, finished])
  const reply = (received: Received) =>
    received.request !== CONFIG && cut-- > 0 ? null : answers(received)
  const { code, stdout } = await take(["rotate-keys"], reply)
  expect({ code, stdout }).toEqual({ code: 0, stdout: "keys rotated, reencryption finished\n" })
})

test("a refusal while it rewrites is not waited for", async () => {
  const reply = ({ request }: Received): Reply =>
    request === CONFIG ? { json: { operation: "op-1" } } : { status: 401 }
  const { code, received } = await take(["rotate-keys"], reply)
  expect({ code, asked: received.length }).toEqual({ code: ERRORS.Unauthorized.exit, asked: 2 })
})

test("Ctrl-C leaves the server going on and says so", async () => {
  const interrupt = new AbortController()
  await using server = await startSupervisor({
    reply(received) {
      if (received.request !== CONFIG) setTimeout(() => interrupt.abort("SIGINT"), 50)
      return script("op-1", [running])(received)
    },
  })
  const to = ["--server", server.url, "--token", server.token]
  const { signal } = interrupt
  expect(await command(["secrets-encrypt", "rotate-keys", ...to], { signal })).toEqual({
    code: 130,
    stdout: "",
    stderr: "keyturn: the server finishes what it has begun; see: keyturn secrets-encrypt status\n",
  })
})

test("status tells of a running rewrite, and of values left behind, on standard error", async () => {
  const seen = {
    stage: "reencrypt_active",
    activekey: "AES-CBC new",
    enable: true,
    hashmatch: true,
  }
  const statusBeside = async (operation: OperationSeen) => {
    const { code, stderr } = await take(["status"], ({ request }) => ({
      json: request.endsWith("status") ? seen : operation,
    }))
    return { code, stderr }
  }
  expect(await statusBeside(running)).toEqual({
    code: 0,
    stderr: 'keyturn: rotate-keys to the key "new" is under way (30 of 40 stored rows left)\n',
  })
  expect(await statusBeside({ ...running, pass: 2, upTo: 50, looked: 40 })).toEqual({
    code: 0,
    stderr:
      'keyturn: rotate-keys to the key "new" is under way: it waits for the datastore to clear what was rewritten, and for the proof\n',
  })
  expect(await statusBeside({ ...finished, kept: { old: 3 } })).toEqual({
    code: 0,
    stderr: 'keyturn: the key "old" is kept for 3 stored values\n',
  })
  expect(await statusBeside({ ...running, trouble: "the disk is full" })).toEqual({
    code: 0,
    stderr:
      "keyturn: rotate-keys stands still: the disk is full; the server tries again by itself\n",
  })
  expect(await statusBeside(finished)).toEqual({ code: 0, stderr: "" })
})
