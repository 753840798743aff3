/** `kill -9` right before and right after every commit of every verb, of a rewrite and of a start: the next start goes on by itself to
 *  the same end. Each commit once, its side and its engine dealt by a seed; all of both sides on all engines in `npm run test:soak`. */
import { readFileSync, writeFileSync } from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { BEAT_MS } from "../../src/rotation/lease.ts"
import { decodeOperation, encodeOperation, type Verb } from "../../src/rotation/operation.ts"
import { STEPS, type StepName } from "../../src/step.ts"
import { apiClient } from "../harness/api.ts"
import {
  type AtRest,
  atRest,
  lostSince,
  notUnderTheWriter,
  wrongAtRest,
} from "../harness/at-rest.ts"
import { openBeside } from "../harness/beside.ts"
import { type Datastore, dealtSeed, startEngine, sqliteDatastore } from "../harness/engines.ts"
import { until } from "../harness/process.ts"
import { missing } from "../harness/programs.ts"
import { random } from "../harness/random.ts"
import { TestServer, untilStopped } from "../harness/server.ts"

const ENGINES = ["sqlite", "etcd", "postgres"] as const
type EngineName = (typeof ENGINES)[number]
const SIDES = ["before", "after"] as const
type Side = (typeof SIDES)[number]
/** `barrier@2`: the second one since the server started. */
type Point = StepName | `${StepName}@${number}`

interface Case {
  readonly at: Point
  /** What a user does that leads to it; `start`: a start that is not the first. */
  readonly by: Verb | "first start" | "start" | "token" | "recovery key" | "revoke" | "destroy"
  /** Verbs that come before. */
  readonly follows?: readonly Verb[]
  /** Flags of the server. */
  readonly args?: readonly string[]
  /** Alone on a database file a server has no use for it. */
  readonly isOfSeveral?: true
  /** What the end takes that is more than the one point. */
  readonly how?: "given back" | "taken over" | "stopped" | "edited"
}

const each = (by: Case["by"], ...points: readonly Point[]): Case[] =>
  points.map((at) => ({ at, by }))

// biome-ignore format: a table
const CASES: readonly Case[] = [
  ...each("first start", "token-file", "node-token", "first-keyring", "certificate-key", "certificate", "kubeconfig", "namespace"),
  { at: "server-lease", by: "first start", isOfSeveral: true },
  ...each("start", "enroll", "take-in-keys"),
  { at: "prepare", by: "prepare" },
  { at: "rotate", by: "rotate", follows: ["prepare"] },
  { at: "reencrypt", by: "reencrypt", follows: ["prepare", "rotate"] },
  { at: "abort", by: "abort", follows: ["prepare", "rotate"] },
  { at: "disable", by: "disable" },
  { at: "enable", by: "enable", follows: ["disable"] },
  ...each("rotate-keys", "rotate-keys", "encryption-config@2", "encryption-state@2", "node@2"),
  ...each("rotate-keys", "barrier", "pass", "batch", "cursor", "second-pass", "scrub", "retire"),
  { at: "count-writes", by: "rotate-keys", args: ["--secrets-encryption-provider", "aesgcm"] },
  ...each("token", "next-token", "change-token", "keep-token", "drop-next-token@3", "scrub-records", "scrubbed"),
  ...each("recovery key", "recovery-key"),
  ...each("revoke", "revoke-recovery-key"),
  ...each("destroy", "destroy-key", "scrub-records"),
  { at: "supersede", by: "start", how: "edited" },
  { at: "give-back", by: "rotate-keys", how: "given back" },
  { at: "take-over", by: "rotate-keys", how: "taken over" },
  { at: "beat", by: "rotate-keys", how: "stopped" },
]

// biome-ignore format: a table
/** The same commits on other ways, for the whole product. */
const OTHER_WAYS: readonly Case[] = [
  ...each("first start", "enroll", "namespace@3", "node", "encryption-config", "encryption-state"),
  ...each("rotate-keys", "barrier@2", "pass@2", "encryption-config@3", "node@3"),
  ...each("disable", "batch", "retire"),
  { at: "batch", by: "enable", follows: ["disable"] },
]

test("every commit is here", () => {
  const points = new Set(CASES.map(({ at }) => at.replace(/@\d+$/, "")))
  expect(STEPS.filter((name) => !points.has(name))).toEqual([])
})

const SECRETS = "/api/v1/namespaces/default/secrets"
/** Rewritten in several batches: a rewrite that can be met in the middle. */
const MANY = 2_000
const ARGS = ["--secrets-encryption"]

interface Life {
  readonly server: TestServer
  readonly datastore: Datastore
  /** What each Secret holds. */
  readonly expected: Map<string, string>
}

const call = async ({ server }: Life, method: string, path: string, body?: object) => {
  using client = apiClient(server.kubeconfig)
  return await client.call(method, path, body)
}

async function write(life: Life, name: string, value: string): Promise<void> {
  const data = { of: Buffer.from(value).toString("base64") }
  const object = { kind: "Secret", apiVersion: "v1", metadata: { name }, data }
  const isNew = !life.expected.has(name)
  const path = isNew ? SECRETS : `${SECRETS}/${name}`
  const { status, body } = await call(life, isNew ? "POST" : "PUT", path, object)
  expect(status, body).toBe(isNew ? 201 : 200)
  life.expected.set(name, value)
}

async function writeMany(life: Life): Promise<void> {
  using client = apiClient(life.server.kubeconfig)
  const names = Array.from({ length: MANY }, (_, n) => `many-${n}`)
  if (life.expected.has("many-0")) return
  await Promise.all(
    names.map(async (name) => {
      const object = { kind: "Secret", apiVersion: "v1", metadata: { name }, data: {} }
      expect((await client.call("POST", SECRETS, object)).status).toBe(201)
      life.expected.set(name, "")
    }),
  )
}

async function readAll(life: Life): Promise<Map<string, string>> {
  const { status, body } = await call(life, "GET", SECRETS)
  expect(status, body.slice(0, 500)).toBe(200)
  const items = JSON.parse(body).items as { metadata: { name: string }; data?: { of: string } }[]
  const decoded = (base64 = "") => Buffer.from(base64, "base64").toString()
  return new Map(items.map(({ metadata, data }) => [metadata.name, decoded(data?.of)]))
}

/** In K3s' words. */
const BODIES: Readonly<Record<Verb, object>> = {
  prepare: { stage: "prepare" },
  rotate: { stage: "rotate" },
  reencrypt: { stage: "reencrypt_active" },
  "rotate-keys": { stage: "rotate_keys" },
  abort: { stage: "abort" },
  enable: { enable: true },
  disable: { enable: false },
}

const STAGES: Partial<Record<Case["by"], string>> = {
  prepare: "prepare",
  rotate: "rotate",
  reencrypt: "reencrypt_finished",
  "rotate-keys": "reencrypt_finished",
  abort: "reencrypt_finished",
}

async function take(life: Life, verb: Verb): Promise<void> {
  const { status, body } = await call(life, "PUT", "/v1-keyturn/encrypt/config", BODIES[verb])
  expect(status, body).toBe(200)
  await atItsEnd(life)
}

/** Asked of the server: who reads the database's file beside it keeps it from clearing its log. */
const atItsEnd = (life: Life) =>
  until(
    async () => {
      const { body } = await call(life, "GET", "/v1-keyturn/encrypt/operation")
      return JSON.parse(body)?.state !== "running"
    },
    { timeoutMs: 60_000, what: "no operation runs" },
  )

const tokenIn = ({ server }: Life) =>
  readFileSync(dataDirPaths(server.dataDir).token, "utf8").trim()
const look = (life: Life) => atRest(life.datastore, tokenIn(life))

type Asked = [method: string, path: string, body: object]

async function askedFor(
  life: Life,
  by: Exclude<Case["by"], "first start" | "start">,
): Promise<Asked> {
  if (by === "token") return ["PUT", "/v1-keyturn/token", {}]
  if (by === "recovery key") return ["POST", "/v1-keyturn/recovery-key", {}]
  if (by === "revoke") {
    const { body } = await call(life, "POST", "/v1-keyturn/recovery-key", {})
    return ["POST", "/v1-keyturn/recovery-key/revoke", { id: JSON.parse(body).id }]
  }
  if (by !== "destroy") return ["PUT", "/v1-keyturn/encrypt/config", BODIES[by]]
  const { keys } = (await look(life)).view.record.keyring
  const name = keys.find(({ state }) => state === "archived")?.name
  return ["POST", "/v1-keyturn/encrypt/keys/destroy", { name, confirm: name }]
}

/** What the user does; the server may end in the middle of it. */
async function act(life: Life, { by, at }: Case): Promise<void> {
  if (by === "first start" || by === "start") return
  const asked = await askedFor(life, by)
  const answer = await call(life, ...asked).catch((error: unknown) => {
    if (error instanceof Error && "code" in error) return undefined
    throw error
  })
  if (answer !== undefined) expect(answer.status, `${at}: ${answer.body}`).toBe(200)
}

/** What comes before the point. */
const FIRST: Partial<Record<NonNullable<Case["how"]>, string>> = {
  "given back": "batch:after=SIGTERM,",
  stopped: "batch:after=SIGSTOP,",
}

/** Starts with the points armed, and does what leads there. Returns when the process has ended so. */
async function dieAt(life: Life, one: Case, points: string): Promise<void> {
  const { server } = life
  const ended = async (code: number) => {
    const late = sleep(60_000, undefined, { ref: false }).then(() => "it still runs")
    expect(await Promise.race([server.ended(), late]), server.logs().slice(-2000)).toBe(code)
  }
  const start = (armed: string, args: readonly string[] = []) =>
    server.start(args, armed).catch((error: unknown) => {
      if (!one.by.endsWith("start")) throw error
    })
  if (one.how === "taken over") {
    await start("batch:after=SIGTERM")
    await act(life, one)
    await ended(0)
    expect(await life.datastore.operation()).toMatchObject({ state: "running", holder: null })
    await server.start([], points).catch(() => {})
    return ended(137)
  }
  if (one.how === "edited") await edit(life)
  const first = (one.how && FIRST[one.how]) ?? ""
  await start(first + points, one.at === "take-in-keys" ? moreKeys(life) : one.args)
  // It may stand still before it answers.
  await Promise.all([act(life, one), one.how === "stopped" && restAndGoOn(server)])
  await ended(137)
}

/** Stopped for longer than from one beat to the next. */
async function restAndGoOn(server: TestServer): Promise<void> {
  await untilStopped(server)
  const stoppedMs = performance.now()
  await until(() => performance.now() - stoppedMs > BEAT_MS)
  process.kill(server.pid, "SIGCONT")
}

/** Somebody gives the operation's record another fence. */
async function edit({ datastore }: Life): Promise<void> {
  const store = await openBeside(datastore)
  const stored = await store.record("operation")
  const operation = stored && decodeOperation(stored.value)
  if (operation === undefined) throw new Error("there has been no operation")
  const fence = "0".repeat(32)
  const value = encodeOperation({ ...operation, state: "running", fence, holder: hostname() })
  const { outcome } = await store.step({
    compare: [{ name: "operation", version: stored?.version ?? null }],
    put: [{ name: "operation", value }],
  })
  await store.close()
  expect(outcome).toBe("done")
}

/** Flags that bring a key of the operator's own. */
function moreKeys({ server, expected }: Life): string[] {
  const path = join(server.home, "more.yaml")
  const secret = Buffer.alloc(32, expected.size).toString("base64")
  const key = `{name: "own-${expected.size}", secret: ${secret}}`
  writeFileSync(
    path,
    `kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n` +
      `- resources: [secrets]\n  providers: [{aescbc: {keys: [${key}]}}, {identity: {}}]\n`,
  )
  return ["--encryption-provider-config", path]
}

/** Nothing is done by hand but the start. */
async function cameBack(life: Life, name: string, stage: string): Promise<AtRest> {
  await atItsEnd(life)
  await until(async () => String((await life.datastore.record("scrub")) ?? "done") === "done", {
    timeoutMs: 60_000,
    intervalMs: 200,
    what: `${name}: what an earlier keyring left is cleared`,
  })
  const { encryptionState } = dataDirPaths(life.server.dataDir)
  const shown = () => readFileSync(encryptionState, "utf8").startsWith(`${stage}-`)
  await until(shown, { what: `${name}: the files show ${stage}` })
  const now = await look(life)
  expect(now.view.record.keyring.stage, name).toBe(stage)
  expect(wrongAtRest(now), name).toEqual([])
  if (stage !== "rotate") expect(notUnderTheWriter(now), name).toEqual([])
  expect(await readAll(life), name).toEqual(life.expected)
  return now
}

function pointOf({ at }: Case, side: Side): string {
  const [name, nth = "1"] = at.split("@")
  return `${name}:${side}@${nth}`
}

async function firstStart(life: Life, one: Case, side: Side): Promise<void> {
  const name = `${one.at} ${side} of a first start on ${life.datastore.endpoint}`
  await using server = life.server
  await dieAt(life, one, pointOf(one, side))
  await server.start()
  await write(life, "one", "1")
  const { view } = await cameBack(life, name, "start")
  expect(
    view.record.keyring.keys.map((key) => key.name),
    name,
  ).toEqual(["aescbckey"])
}

async function laterLife(life: Life, one: Case, side: Side): Promise<void> {
  const name = `${one.at} ${side} of ${one.by} on ${life.datastore.endpoint}`
  if (one.how !== undefined && one.how !== "edited") await writeMany(life)
  for (const verb of one.follows ?? []) await take(life, verb)
  const before = await look(life)
  const stage = before.view.record.keyring.stage
  await life.server.kill9()
  await dieAt(life, one, pointOf(one, side))
  await life.server.start()
  const isTaken = side === "after" || one.at !== one.by
  const now = await cameBack(life, name, (isTaken && STAGES[one.by]) || stage)
  expect(lostSince(before, now), name).toEqual([])
  const isOff = now.view.record.keyring.intent !== "encrypted"
  expect(isOff, name).toBe((one.by === "disable" && isTaken) || (one.by === "enable" && !isTaken))
}

/** As K3s' manual has it; then writes, so that there is history under more than one key's values. */
async function goOn(life: Life): Promise<void> {
  const { stage, intent } = (await look(life)).view.record.keyring
  if (intent !== "encrypted") await take(life, "enable")
  if (stage === "prepare") await take(life, "rotate")
  if (stage === "prepare" || stage === "rotate") await take(life, "reencrypt")
  const n = life.expected.size
  await write(life, `s${n}`, "new")
  await write(life, `s${n}`, "changed")
}

interface Lane extends AsyncDisposable {
  /** A server that has not been started, on a datastore that is empty. */
  next(): Promise<Life>
}

async function openLane(name: EngineName): Promise<Lane> {
  if (name === "sqlite")
    return {
      async next() {
        const server = new TestServer({ args: ARGS })
        return { server, datastore: sqliteDatastore(server.dataDir), expected: new Map() }
      },
      [Symbol.asyncDispose]: async () => {},
    }
  const engine = await startEngine(name)
  return {
    async next() {
      const datastore = await engine.newDatastore()
      const env = { KEYTURN_DATASTORE_ENDPOINT: datastore.endpoint }
      return { server: new TestServer({ args: ARGS, env }), datastore, expected: new Map() }
    },
    [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
  }
}

async function runLane(name: EngineName, dealt: readonly Dealt[]): Promise<void> {
  await using lane = await openLane(name)
  const isFirst = ({ one }: Dealt) => one.by === "first start"
  for (const each of dealt.filter(isFirst)) {
    const { one, side } = each
    const life = await lane.next()
    await told(name, each, firstStart(life, one, side))
  }
  const life = await lane.next()
  await using server = life.server
  await server.start()
  await goOn(life)
  await take(life, "rotate-keys")
  for (const each of dealt.filter((other) => !isFirst(other))) {
    const { one, side } = each
    await told(name, each, laterLife(life, one, side))
    await goOn(life)
  }
}

/** Where one fails, or hangs, this says which. */
async function told(name: EngineName, { one, side }: Dealt, end: Promise<void>): Promise<void> {
  const what = `${name}: ${one.at} ${side}, by ${one.by}`
  const beganMs = performance.now()
  await end.catch((cause: unknown) => {
    throw new Error(what, { cause })
  })
  console.info(`${what}: ${Math.round(performance.now() - beganMs)} ms`)
}

interface Dealt {
  readonly one: Case
  readonly side: Side
  readonly engine: EngineName
}

/** Both sides of every point on every engine. */
const isWhole = process.env.KEYTURN_TEST_ROUNDS !== undefined
/** Of all these ends every third, the second of them and on: KEYTURN_TEST_PART=2/3. */
const [part = 1, parts = 1] = process.env.KEYTURN_TEST_PART?.split("/").map(Number) ?? []
const named = ENGINES.find((name) => name === process.env.KEYTURN_TEST_ENGINE)

function deal(one: Case, engines: readonly EngineName[], next: () => number): Dealt[] {
  const fitting = engines.filter((engine) => !(one.isOfSeveral && engine === "sqlite"))
  const all = fitting.flatMap((engine) => SIDES.map((side) => ({ one, side, engine })))
  const dealt = Math.floor(next() * all.length)
  return isWhole ? all : all.slice(dealt, dealt + 1)
}

test("killed before or after any commit, the next start goes on by itself", {
  timeout: isWhole ? 3_600_000 : 900_000,
}, async () => {
  // https://github.com/k3s-io/k3s/issues/13763 (docs/pains.md 2)
  const seed = dealtSeed()
  const wanted = named === undefined ? ENGINES : [named]
  const isHere = await Promise.all(
    wanted.map(async (name) => name === "sqlite" || (await missing(name)) === undefined),
  )
  const engines = wanted.filter((_, n) => isHere[n])
  const next = random(seed)
  const cases = isWhole ? [...OTHER_WAYS, ...CASES] : CASES
  const all = cases.flatMap((one) => deal(one, engines, next))
  const dealt = all.filter((_, n) => n % parts === part - 1)
  console.info(`seed=${seed}, ${dealt.length} ends on ${engines.join(", ")}`)
  await Promise.all(
    engines.map((name) =>
      runLane(
        name,
        dealt.filter(({ engine }) => engine === name),
      ),
    ),
  )
})
