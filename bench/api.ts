/** What does a request cost beside a bare handler of the same HTTP stack that sends the same bytes ready-made? GET of one Secret of
 *  1 KiB, lists of 5,000 (whole, and in pages of 500), and creates beside raw one-row durable commits. The server, the bare
 *  handler and this load are three processes.
 *
 *  npm run bench -- api */
import { fork } from "node:child_process"
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import { administrator, loadSecrets, machine, median, newDataDir, startServer } from "./lib.ts"
import { requestBytes, run } from "./load.ts"

const ROUNDS = 5
const GET_SECONDS = 2
const CONNECTIONS = 32
const LISTED = 5_000
const CREATES = 1_000
const SECRETS = "/api/v1/namespaces/default/secrets"

interface Side {
  readonly port: number
  readonly certificate?: { readonly cert: string; readonly key: string }
}

const dir = newDataDir()
const server = await startServer(dir.path)
const child = fork(fileURLToPath(new URL("bare.ts", import.meta.url)), { stdio: "inherit" })
try {
  const [{ port }] = (await once(child, "message")) as [{ port: number }]
  const bare: Side = { port }
  const ours: Side = {
    port: Number(new URL(server.url).port),
    certificate: administrator(dir.path),
  }
  console.log(machine())
  console.log(`median of ${ROUNDS} rounds, both sides in turn`)
  await creates(ours)
  await loadSecrets(server, { count: LISTED })
  await gets(ours, bare)
  await lists(ours, bare)
} finally {
  child.disconnect()
  await server.stop()
  dir.remove()
}

/** Gives the bare handler what the server answers at `path`. */
async function teach(path: string): Promise<void> {
  const { body } = await server.call("GET", path)
  child.send({ path, body })
  await once(child, "message")
}

function print(question: string, sides: { ours: string; bare: string; ratio: number }): void {
  const columns = [sides.ours.padStart(12), sides.bare.padStart(12), sides.ratio.toFixed(2)]
  console.log(`${question.padEnd(44)} ours ${columns[0]}  bare ${columns[1]}  ratio ${columns[2]}`)
}

async function gets(ours: Side, bare: Side): Promise<void> {
  const path = `${SECRETS}/bench-0000000`
  await teach(path)
  const request = requestBytes({ method: "GET", path })
  const rate = async (side: Side) => {
    const until = performance.now() + GET_SECONDS * 1000
    const next = () => (performance.now() < until ? request : undefined)
    return (await run({ ...side, connections: CONNECTIONS, request: next })).perSecond
  }
  const rates = { ours: [] as number[], bare: [] as number[] }
  for (let round = 0; round <= ROUNDS; round++) {
    const [a, b] = [await rate(ours), await rate(bare)]
    // The first round warms both up.
    if (round > 0) {
      rates.ours.push(a)
      rates.bare.push(b)
    }
  }
  const [a, b] = [median(rates.ours), median(rates.bare)]
  const question = `GET of one 1 KiB Secret, ${CONNECTIONS} connections`
  print(question, { ours: `${a.toFixed(0)}/s`, bare: `${b.toFixed(0)}/s`, ratio: a / b })
}

async function lists(ours: Side, bare: Side): Promise<void> {
  const whole = [SECRETS]
  const pages = await pagesOf(`${SECRETS}?limit=500`)
  for (const path of [...whole, ...pages]) await teach(path)
  const seconds = async (side: Side, paths: readonly string[]) => {
    const requests = paths.map((path) => requestBytes({ method: "GET", path }))
    return (await run({ ...side, connections: 1, request: (n) => requests[n] })).seconds
  }
  for (const [question, paths] of [
    [`list of ${LISTED} in one answer`, whole],
    [`list of ${LISTED} in pages of 500`, pages],
  ] as const) {
    const times = { ours: [] as number[], bare: [] as number[] }
    for (let round = 0; round <= ROUNDS; round++) {
      const [a, b] = [await seconds(ours, paths), await seconds(bare, paths)]
      if (round > 0) {
        times.ours.push(a)
        times.bare.push(b)
      }
    }
    const [a, b] = [median(times.ours), median(times.bare)]
    const ms = (time: number) => `${(time * 1000).toFixed(0)} ms`
    print(question, { ours: ms(a), bare: ms(b), ratio: a / b })
  }
}

async function pagesOf(first: string): Promise<string[]> {
  const paths = [first]
  for (let path = first; ; ) {
    const { body } = await server.call("GET", path)
    const { metadata } = JSON.parse(body) as { metadata: { continue?: string } }
    if (metadata.continue === undefined) return paths
    path = `${first}&continue=${metadata.continue}`
    paths.push(path)
  }
}

/** In a namespace of their own, for the lists are of what they say. */
async function creates(ours: Side): Promise<void> {
  await server.call("POST", "/api/v1/namespaces", { metadata: { name: "creates" } })
  const commits: number[] = []
  const rates = new Map<number, number[]>([1, CONNECTIONS].map((connections) => [connections, []]))
  for (let round = 0; round < ROUNDS; round++) {
    commits.push(rawCommits())
    for (const [connections, found] of rates) {
      const request = (n: number) =>
        n < CREATES ? creation(`c${connections}-${round}-${n}`) : undefined
      found.push((await run({ ...ours, connections, request })).perSecond)
    }
  }
  const raw = median(commits)
  for (const [connections, found] of rates) {
    const rate = median(found)
    const question = `create, ${connections} client${connections > 1 ? "s" : ""}, beside raw commits`
    print(question, {
      ours: `${rate.toFixed(0)}/s`,
      bare: `${raw.toFixed(0)}/s`,
      ratio: rate / raw,
    })
  }
}

function creation(name: string): Buffer {
  const data = { value: randomBytes(1024).toString("base64") }
  const body = JSON.stringify({ kind: "Secret", apiVersion: "v1", metadata: { name }, data })
  return requestBytes({ method: "POST", path: "/api/v1/namespaces/creates/secrets", body })
}

/** Durable commits of one row of a sealed Secret's size, a second. */
function rawCommits(): number {
  const database = new DatabaseSync(join(dir.path, `raw-${randomBytes(4).toString("hex")}.db`))
  database.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (k TEXT, v BLOB)")
  const insert = database.prepare("INSERT INTO t VALUES (?, ?)")
  const value = randomBytes(1400)
  const started = performance.now()
  for (let n = 0; n < CREATES; n++) insert.run(`/registry/secrets/default/${n}`, value)
  const seconds = (performance.now() - started) / 1000
  database.close()
  return CREATES / seconds
}
