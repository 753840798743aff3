/** The other side of bench/engine.ts and bench/rewrite.ts: clients of etcd, MariaDB and PostgreSQL that do the same durable writes as keyturn
 *  and the same reads, and nothing else. In SQL they have a table of their own, made like kine's. */
import { createSecretKey, randomBytes } from "node:crypto"
import { once } from "node:events"
import { connect } from "node:http2"
import { createPool, type Pool as MysqlPool } from "mysql2/promise"
import { Pool } from "pg"
import { aescbc } from "../src/providers/aescbc.ts"
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
  /** Copies of the stored Secrets' bytes, sealed under a key of its own. */
  copySecrets(): Promise<Copies>
  end(): Promise<void>
}

/** Both go through all copies once, in batches; what they leave behind is cleared outside of `seconds`. */
export interface Copies {
  /** Writes what it has ready. */
  write(): Promise<{ seconds: number }>
  /** Reads each, opens it, seals it under the same key, and writes that. */
  reseal(): Promise<{ seconds: number }>
}

const provider = aescbc({ name: "bare", secret: createSecretKey(randomBytes(32)) })
const seal = (plaintext: Buffer): Buffer => provider.seal(plaintext, "")
const resealed = (stored: Buffer): Buffer => seal(provider.open(stored, ""))

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
      const range = async (key: string, end: string) =>
        decodeRanged(await call("KV/Range", encodeRange({ key, end })))
      const { entries } = await range("/registry/secrets/", "/registry/secrets0")
      const copies = entries.map(({ key, value }) =>
        put(key.replace("/registry/", "/bare/"), seal(value), 0),
      )
      const batches = sliced(copies, PUTS)
      await inLanes(batches, commit)
      const keys = batches.map((batch) => batch.map(({ put }) => put.put.key))
      const stored = async (batch: string[]) =>
        (await range(batch[0] ?? "", `${batch.at(-1)}\0`)).entries
      const timed = async <T>(batches: T[], work: (batch: T) => Promise<void>) => {
        const started = performance.now()
        await inLanes(batches, work)
        const seconds = (performance.now() - started) / 1000
        const { revision } = await range("/bare/", "/bare/")
        await call("KV/Compact", encodeCompaction(revision, { isPhysical: true }))
        return { seconds }
      }
      return {
        async write() {
          const ready = await Promise.all(keys.map(stored))
          return timed(
            ready.map((batch) =>
              batch.map(({ key, value, modified }) => put(key, value, modified)),
            ),
            commit,
          )
        },
        reseal: () =>
          timed(keys, async (batch) => {
            const entries = await stored(batch)
            await commit(
              entries.map(({ key, value, modified }) => put(key, resealed(value), modified)),
            )
          }),
      }
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
const READ = (mark: string[]) =>
  `SELECT id, value FROM bare WHERE id BETWEEN ${mark[0]} AND ${mark[1]} ORDER BY id`
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
      return sqlCopies({
        read: async (span) => (await pool.query<Copy>(READ(["$1", "$2"]), span)).rows,
        prepare(batch) {
          const values = batch.map(({ value }) => value)
          const lengths = values.map(({ length }) => length)
          return [batch.map(({ id }) => id), Buffer.concat(values), startsOf(values), lengths]
        },
        update,
        clear: () => pool.query("VACUUM bare"),
      })
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
      return sqlCopies({
        async read(span) {
          const [rows] = await pool.execute(READ(["?", "?"]), span)
          return (rows as [number, Buffer][]).map(([id, value]) => ({ id, value }))
        },
        prepare: (batch) => batch.flatMap(({ id, value }) => [id, value]),
        update: (values) =>
          pool.execute(
            `INSERT INTO bare (id, value) VALUES ${values
              .slice(values.length / 2)
              .map(() => "(?, ?)")
              .join()}
             ON DUPLICATE KEY UPDATE value = VALUES(value)`,
            values,
          ),
        clear: () => pool.query("SELECT 1"),
      })
    },
    end: () => pool.end(),
  }
}

interface Copy {
  readonly id: number | string
  readonly value: Buffer
}

interface CopiesTable<T> {
  /** Between two ids, these among them. */
  read(span: (number | string)[]): Promise<Copy[]>
  /** What `update` takes. */
  prepare(batch: Copy[]): T
  update(batch: T): Promise<unknown>
  clear(): Promise<unknown>
}

async function sqlCopies<T>({ read, prepare, update, clear }: CopiesTable<T>): Promise<Copies> {
  const copies = await read([0, Number.MAX_SAFE_INTEGER])
  const batches = sliced(copies, UPDATED)
  for (const batch of batches)
    await update(prepare(batch.map(({ id, value }) => ({ id, value: seal(value) }))))
  await clear()
  const stored = (batch: Copy[]) => read([batch[0]?.id ?? 0, batch.at(-1)?.id ?? 0])
  const timed = async (work: () => Promise<void>) => {
    const started = performance.now()
    await work()
    const seconds = (performance.now() - started) / 1000
    await clear()
    return { seconds }
  }
  return {
    async write() {
      const ready = (await Promise.all(batches.map(stored))).map(prepare)
      return timed(async () => {
        for (const batch of ready) await update(batch)
      })
    },
    // The next batch is made ready while one is under way, as keyturn does.
    reseal: () =>
      timed(async () => {
        let underWay: Promise<unknown> | undefined
        for (const batch of batches) {
          const read = await stored(batch)
          const next = prepare(read.map(({ id, value }) => ({ id, value: resealed(value) })))
          await underWay
          underWay = update(next)
        }
        await underWay
      }),
  }
}

async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = items.values()
  const lane = async () => {
    for (const item of waiting) await work(item)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
}

const sliced = <T>(all: readonly T[], length: number): T[][] =>
  Array.from({ length: Math.ceil(all.length / length) }, (_, n) =>
    all.slice(n * length, (n + 1) * length),
  )
