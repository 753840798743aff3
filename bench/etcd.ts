/** What the store costs beside a bare client of the same etcd: node bench/etcd.ts. One line a question: ours, bare, ratio.
 *  The bare side sends the same transactions and reads of 1 KiB over one HTTP/2 connection, and looks at no answer but
 *  its end. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { type ClientHttp2Session, connect } from "node:http2"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { openEtcd } from "../src/store/etcd.ts"
import { encodeRange, encodeTxn } from "../src/store/etcd-messages.ts"

const CREATES = 6_000
const GETS = 20_000
const LISTED = 5_000
const ROUNDS = 5
const value = Buffer.alloc(1024, "x")
const fence = "0123456789abcdef0123456789abcdef"

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  if (address === null || typeof address === "string") throw new Error("no port")
  return address.port
}

const folder = mkdtempSync(join(tmpdir(), "keyturn-bench-"))
const origin = `http://127.0.0.1:${await freePort()}`
const peer = `http://127.0.0.1:${await freePort()}`
const etcd = spawn("etcd", [
  `--data-dir=${folder}`,
  `--listen-client-urls=${origin}`,
  `--advertise-client-urls=${origin}`,
  `--listen-peer-urls=${peer}`,
  `--initial-advertise-peer-urls=${peer}`,
  `--initial-cluster=default=${peer}`,
])
process.once("exit", () => {
  etcd.kill("SIGKILL")
  rmSync(folder, { recursive: true, force: true })
})

async function opened(): ReturnType<typeof openEtcd> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await openEtcd({ endpoints: [origin] })
    } catch (error) {
      if (attempt === 100) throw error
      await sleep(100)
    }
  }
}

const store = await opened()
await store.step({ compare: [], fence: { expected: null, next: fence } })
const bare: ClientHttp2Session = connect(origin)
await once(bare, "remoteSettings")

function bareCall(path: string, message: Buffer): Promise<void> {
  const frame = Buffer.alloc(5 + message.length)
  frame.writeUInt32BE(message.length, 1)
  message.copy(frame, 5)
  const headers = { "content-type": "application/grpc", te: "trailers" }
  const stream = bare.request({ ":method": "POST", ":path": path, ...headers })
  stream.resume().end(frame)
  return new Promise((resolve, reject) => {
    stream.once("trailers", ({ "grpc-status": status }) => {
      if (Number(status) === 0) resolve()
      else reject(new Error(`gRPC status ${String(status)}`))
    })
    stream.once("error", reject)
  })
}

const bareCreate = (key: string): Promise<void> =>
  bareCall(
    "/etcdserverpb.KV/Txn",
    encodeTxn({
      compare: [{ key, modified: 0 }],
      success: [{ put: { key, value } }],
      failure: [{ range: { key } }],
    }),
  )

const bareGet = (key: string): Promise<void> =>
  bareCall("/etcdserverpb.KV/Range", encodeRange({ key }))

async function oursCreate(key: string): Promise<void> {
  const { outcome } = await store.create({ key, value, fence })
  if (outcome !== "done") throw new Error(outcome)
}

/** Units a second of `clients` that each do one after the other. */
async function rate(
  { units, clients }: { units: number; clients: number },
  work: (index: number) => Promise<unknown>,
): Promise<number> {
  const start = performance.now()
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      for (let index = client; index < units; index += clients) await work(index)
    }),
  )
  return (units / (performance.now() - start)) * 1000
}

const median = (rates: readonly number[]): number =>
  rates.toSorted((a, b) => a - b)[rates.length >> 1] ?? 0

/** Both sides in turn, so that what else the machine does falls on both. */
async function compare(
  question: string,
  load: { units: number; clients: number },
  sides: Record<"ours" | "bare", (round: number) => (index: number) => Promise<unknown>>,
): Promise<void> {
  const rates = { ours: [] as number[], bare: [] as number[] }
  for (let round = 0; round < ROUNDS; round += 1) {
    rates.bare.push(await rate(load, sides.bare(round)))
    rates.ours.push(await rate(load, sides.ours(round)))
  }
  const [ours, raw] = [median(rates.ours), median(rates.bare)]
  const shown = [ours, raw].map((side) => `${Math.round(side)}/s`.padStart(10))
  const ratio = (ours / raw).toFixed(2)
  process.stdout.write(
    `${question.padEnd(34)} ours ${shown[0]}   bare ${shown[1]}   ratio ${ratio}\n`,
  )
}

for (const clients of [1, 64]) {
  const units = clients === 1 ? CREATES / 10 : CREATES
  await compare(
    `durable create, ${clients} at once`,
    { units, clients },
    {
      ours: (round) => (index) => oursCreate(`/registry/ours/${clients}/${round}/${index}`),
      bare: (round) => (index) => bareCreate(`/registry/bare/${clients}/${round}/${index}`),
    },
  )
}
const listed = (index: number): string => `/registry/list/${index % LISTED}`
await rate({ units: LISTED, clients: 64 }, (index) => oursCreate(listed(index)))
for (const clients of [1, 64]) {
  const units = clients === 1 ? GETS / 10 : GETS
  await compare(
    `linearizable get, ${clients} at once`,
    { units, clients },
    {
      ours: () => (index) => store.get(listed(index)),
      bare: () => (index) => bareGet(listed(index)),
    },
  )
}
const range = { key: "/registry/list/", end: "/registry/list0" }
await compare(
  `list of ${LISTED}`,
  { units: 5, clients: 1 },
  {
    ours: () => () => store.list({ prefix: range.key }),
    bare: () => () => bareCall("/etcdserverpb.KV/Range", encodeRange(range)),
  },
)

const { entries } = await store.list({ prefix: range.key })
const start = performance.now()
await store.rewrite(
  fence,
  entries.map(({ key, revision, value: expected }) => {
    return { key, revision, column: "value", expected, replacement: expected }
  }),
)
const tookMs = performance.now() - start
process.stdout.write(`${entries.length} values rewritten in ${(tookMs / 1000).toFixed(2)} s\n`)

await store.close()
bare.destroy()
etcd.kill("SIGTERM")
await once(etcd, "exit")
