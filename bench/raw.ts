/** The other side of bench/engine.ts and bench/rewrite.ts: clients of etcd, MariaDB and PostgreSQL that do the same durable writes as keyturn
 *  and the same reads, and nothing else. In SQL they have a table of their own, made like kine's. */
import { once } from "node:events"
import { connect } from "node:http2"
import { createPool, type Pool as MysqlPool } from "mysql2/promise"
import { Pool } from "pg"
import { datastoreOf } from "../src/server/datastore.ts"
import type { Datastore } from "../src/store/datastore.ts"
import {
  decodeRanged,
  encodeCompaction,
  encodeRange,
  encodeTxn,
} from "../src/store/etcd-messages.ts"
import { startsOf } from "../src/store/postgres.ts"
import { NO_TLS_FILES as tls } from "../src/store/tls-files.ts"

/** As many connections as keyturn has. */
const CONNECTIONS = 16
/** What keyturn puts in a transaction: etcd's limit less the fence. */
const PUTS = 127
const IN_FLIGHT = 4
/** Rows of one UPDATE. */
const UPDATED = 500

export interface Raw {
  create(key: string, value: Buffer): Promise<unknown>
  get(key: string): Promise<unknown>
  /** Copies the stored Secrets. Each call of what is returned writes all of them once, in batches; what it leaves behind is cleared
   *  outside of `seconds`. */
  copySecrets(): Promise<() => Promise<{ seconds: number }>>
  end(): Promise<void>
}

export const datastore = (endpoint: string): Datastore =>
  datastoreOf({ text: endpoint, where: "the argument" }, { standard: "", tls })

export async function rawClient(endpoint: string): Promise<Raw> {
  const found = datastore(endpoint)
  if (found.kind === "etcd") return rawEtcd(found.endpoints[0] ?? "")
  if (found.kind === "sqlite")
    throw new Error("for SQLite there are bench/store.ts and bench/rotate.ts")
  const { host, port, user, password, database } = found.address
  const login = { host, port, user, password, database }
  if (found.kind === "postgres")
    return rawPostgres(new Pool({ ...login, max: CONNECTIONS, pipeline: true }))
  return rawMysql(createPool({ ...login, connectionLimit: CONNECTIONS, rowsAsArray: true }))
}

async function rawEtcd(origin: string): Promise<Raw> {
  const session = connect(origin, { settings: { initialWindowSize: 16 << 20 } })
  await once(session, "remoteSettings")
  session.setLocalWindowSize(16 << 20)
  const call = (method: string, message: Buffer): Promise<Buffer> => {
    const frame = Buffer.alloc(5 + message.length)
    frame.writeUInt32BE(message.length, 1)
    message.copy(frame, 5)
    const headers = { "content-type": "application/grpc", te: "trailers" }
    const stream = session.request({
      ":method": "POST",
      ":path": `/etcdserverpb.${method}`,
      ...headers,
    })
    const pieces: Buffer[] = []
    stream.on("data", (piece: Buffer) => pieces.push(piece)).end(frame)
    return new Promise((resolve, reject) => {
      stream.once("trailers", ({ "grpc-status": status }) => {
        if (Number(status) === 0) resolve(Buffer.concat(pieces).subarray(5))
        else reject(new Error(`gRPC status ${String(status)}`))
      })
      stream.once("error", reject)
    })
  }
  const put = (key: string, value: Buffer, modified: number) => ({
    compare: { key, modified },
    put: { put: { key, value } },
  })
  const commit = async (puts: ReturnType<typeof put>[]) => {
    const [compare, success] = [puts.map((one) => one.compare), puts.map((one) => one.put)]
    await call("KV/Txn", encodeTxn({ compare, success, failure: [] }))
  }
  return {
    create: (key, value) => commit([put(key, value, 0)]),
    get: (key) => call("KV/Range", encodeRange({ key })),
    async copySecrets() {
      const range = { key: "/registry/secrets/", end: "/registry/secrets0" }
      const { entries } = decodeRanged(await call("KV/Range", encodeRange(range)))
      const bare = { key: "/bare/aaa/secrets/", end: "/bare/aaa/secrets0" }
      const copies = entries.map(({ key, value }) => ({
        key: key.replace(range.key, bare.key),
        value,
      }))
      const modified = new Map(copies.map(({ key }) => [key, 0]))
      const write = async () => {
        const batches = sliced(
          copies.map(({ key, value }) => put(key, value, modified.get(key) ?? 0)),
          PUTS,
        )
        const started = performance.now()
        const lane = async () => {
          for (let batch = batches.pop(); batch; batch = batches.pop()) await commit(batch)
        }
        await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
        const seconds = (performance.now() - started) / 1000
        const now = decodeRanged(await call("KV/Range", encodeRange(bare)))
        for (const entry of now.entries) modified.set(entry.key, entry.modified)
        await call("KV/Compact", encodeCompaction(now.revision, { isPhysical: true }))
        return { seconds }
      }
      await write()
      return write
    },
    async end() {
      session.close()
    },
  }
}

const INSERT = (mark: string[]) =>
  `INSERT INTO bare (name, created, deleted, create_revision, prev_revision, lease, value)
   VALUES (${mark[0]}, 1, 0, 0, 0, 0, ${mark[1]})`
const GET = "SELECT id, value FROM bare WHERE name = ? ORDER BY id DESC LIMIT 1"
const COPY = "INSERT INTO bare SELECT * FROM kine WHERE name LIKE '/registry/secrets/%'"

async function rawPostgres(pool: Pool): Promise<Raw> {
  await pool.query("DROP TABLE IF EXISTS bare")
  await pool.query("CREATE TABLE bare (LIKE kine INCLUDING ALL)")
  const prepared = (text: string) => (values: unknown[]) =>
    pool.query({ name: text.slice(0, 63), text, values })
  const [insert, get] = [prepared(INSERT(["$1", "$2"])), prepared(GET.replace("?", "$1"))]
  const update = prepared(
    `UPDATE bare SET value = substring($2::bytea FROM r.start FOR r.length)
     FROM unnest($1::bigint[], $3::integer[], $4::integer[]) AS r (id, start, length) WHERE bare.id = r.id`,
  )
  return {
    create: (key, value) => insert([key, value]),
    get: (key) => get([key]),
    async copySecrets() {
      await pool.query(COPY)
      const { rows } = await pool.query<{ id: string; value: Buffer }>(
        "SELECT id, value FROM bare ORDER BY id",
      )
      return inBatches(
        sliced(rows, UPDATED).map((batch) => {
          const values = batch.map(({ value }) => value)
          const lengths = values.map(({ length }) => length)
          return [batch.map(({ id }) => id), Buffer.concat(values), startsOf(values), lengths]
        }),
        { update, clear: () => pool.query("VACUUM bare") },
      )
    },
    end: () => pool.end(),
  }
}

async function rawMysql(pool: MysqlPool): Promise<Raw> {
  await pool.query("DROP TABLE IF EXISTS bare")
  await pool.query("CREATE TABLE bare LIKE kine")
  return {
    create: (key, value) => pool.execute(INSERT(["?", "?"]), [key, value]),
    get: (key) => pool.execute(GET, [key]),
    async copySecrets() {
      await pool.query(COPY)
      const [rows] = await pool.query("SELECT id, value FROM bare ORDER BY id")
      const update = (values: (number | Buffer)[]) =>
        pool.execute(
          `INSERT INTO bare (id, value) VALUES ${values
            .slice(values.length / 2)
            .map(() => "(?, ?)")
            .join()}
           ON DUPLICATE KEY UPDATE value = VALUES(value)`,
          values,
        )
      return inBatches(
        sliced(rows as [number, Buffer][], UPDATED).map((batch) => batch.flat()),
        { update, clear: () => pool.query("SELECT 1") },
      )
    },
    end: () => pool.end(),
  }
}

const inBatches =
  <T>(batches: T[], { update, clear }: { update: (batch: T) => unknown; clear: () => unknown }) =>
  async () => {
    const started = performance.now()
    for (const batch of batches) await update(batch)
    const seconds = (performance.now() - started) / 1000
    await clear()
    return { seconds }
  }

const sliced = <T>(all: readonly T[], length: number): T[][] =>
  Array.from({ length: Math.ceil(all.length / length) }, (_, n) =>
    all.slice(n * length, (n + 1) * length),
  )
