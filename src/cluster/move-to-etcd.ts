/** A server's SQLite database moved to its embedded etcd: all live values as they are, the records, the fence. History stays
 *  behind, so clients list again.
 *
 *  The copy is made in `db/etcd.unfinished`, and waits in `db/etcd.moving`. One rename makes it the truth: that of the database, to
 *  `db/state.db.before-etcd-…`. Before it a start begins anew, after it a start only puts the folder in its place. */
import { existsSync, rmSync } from "node:fs"
import { isKnown, KnownError } from "../errors.ts"
import { decodeOperation } from "../rotation/operation.ts"
import { HEALTH_KEY } from "../store/kine.ts"
import { openSqlite } from "../store/sqlite.ts"
import { foldLog } from "../store/sqlite-file.ts"
import { leasesOf } from "../store/sqlite-leases.ts"
import { type Entry, RECORD_NAMES, type Store } from "../store/store.ts"
import { beforeEtcd, claimDatabase, type DataDirPaths } from "./data-dir.ts"
import { type EmbeddedContext, startEtcd } from "./embedded-etcd.ts"
import { settleMoved } from "./etcd-member.ts"
import { moveDurably, named } from "./files.ts"

/** Where the copy is made. */
const unfinishedPaths = (paths: DataDirPaths): DataDirPaths => ({
  ...paths,
  etcd: { ...paths.etcd, ...paths.etcd.unfinished },
})

/** Does nothing where there is no database, or the signal came first. Throws RotationUnderWay. */
export async function moveToEtcd(context: EmbeddedContext): Promise<void> {
  const { paths, log, now } = context
  const { unfinished, moving } = paths.etcd
  if (existsSync(paths.state)) {
    named(`cannot remove ${unfinished.data}`, () =>
      rmSync(unfinished.data, { recursive: true, force: true }),
    )
    const kept = beforeEtcd(paths, now())
    const release = claimDatabase(paths.state, { now: now() })
    try {
      const copied = await copyAll({ ...context, paths: unfinishedPaths(paths) })
      if (copied === undefined) return
      moveDurably(unfinished.data, moving.data)
      foldLog(paths.state)
      moveDurably(paths.state, kept)
      log.info({ values: copied }, `moved to the embedded etcd; the database is kept as ${kept}`)
    } finally {
      release()
    }
  }
  settleMoved(paths, { now: now() })
}

async function copyAll(context: EmbeddedContext): Promise<number | undefined> {
  await using stack = new AsyncDisposableStack()
  const from = openSqlite({ path: context.paths.state })
  stack.defer(() => from.close())
  await refuseRunning(from)
  const etcd = await startEtcd(context)
  stack.defer(() => etcd.stop())
  const to = await etcd.open()
  if (to === undefined) return undefined
  stack.defer(() => to.close())
  const leases = leasesOf(context.paths.state)
  let copied = 0
  for await (const entries of pagesOf(from)) {
    await copyPage(entries, { to, leases })
    copied += entries.length
  }
  await copyRecords(from, to)
  // Revisions of before must not be taken for ones of now.
  await to.compact(await to.revision())
  return copied
}

async function refuseRunning(from: Store): Promise<void> {
  const operation = await from.record("operation")
  if (operation !== undefined && decodeOperation(operation.value)?.state === "running")
    throw new KnownError(
      "RotationUnderWay",
      "a rewrite is under way, and it goes by this database's rows: start without --cluster-init until it has ended",
    )
}

const PAGE = 200

async function* pagesOf(from: Store): AsyncGenerator<Entry[]> {
  for (let after: string | undefined; ; ) {
    const { entries, remaining } = await from.list({
      prefix: "/",
      limit: PAGE,
      ...(after && { after }),
    })
    yield entries.filter(({ key }) => key !== HEALTH_KEY)
    after = entries.at(-1)?.key
    if (remaining === 0 || after === undefined) return
  }
}

interface Copying {
  readonly to: Store
  /** Seconds, by key. */
  readonly leases: ReadonlyMap<string, number>
}

async function copyPage(entries: readonly Entry[], copying: Copying): Promise<void> {
  // All of them end before the first failure is told: with it the store closes.
  const copied = await Promise.allSettled(entries.map((entry) => copyOne(entry, copying)))
  for (const one of copied) if (one.status === "rejected") throw one.reason
}

async function copyOne({ key, value }: Entry, { to, leases }: Copying): Promise<void> {
  const ttlSeconds = leases.get(key) ?? 0
  try {
    const { outcome } = await to.create({ key, value, fence: undefined, ttlSeconds })
    if (outcome === "done") return
  } catch (error) {
    if (!isKnown(error)) throw error
    throw new KnownError(error.code, `${key} cannot be moved: ${error.message}`, { cause: error })
  }
  throw new KnownError("StoreUnavailable", `a new etcd holds ${key} already`)
}

async function copyRecords(from: Store, to: Store): Promise<void> {
  const records = await Promise.all(
    RECORD_NAMES.map(async (name) => ({ name, stored: await from.record(name) })),
  )
  const next = await from.fence()
  const { outcome } = await to.step({
    compare: RECORD_NAMES.map((name) => ({ name, version: null })),
    put: records.flatMap(({ name, stored }) => (stored ? [{ name, value: stored.value }] : [])),
    ...(next !== undefined && { fence: { expected: null, next } }),
  })
  if (outcome !== "done")
    throw new KnownError("StoreUnavailable", "a new etcd holds records already")
}
