/** A snapshot put back in the place of a server's embedded etcd, by etcd's own tool: a cluster of one begins with it, which the
 *  others join. */
import { execFile } from "node:child_process"
import { closeSync, existsSync, openSync, readSync, rmSync } from "node:fs"
import { promisify } from "node:util"
import { KnownError } from "../errors.ts"
import { openDataDir } from "./data-dir.ts"
import { type EmbeddedContext, newPeerUrl, startEtcd } from "./embedded-etcd.ts"
import { readEtcdAuthorities, writeEtcdAuthorities } from "./etcd-certificates.ts"
import { newMemberName, readMember, settleMoved, writeMember } from "./etcd-member.ts"
import { moveDurably, named, writeDurably } from "./files.ts"
import { makeEtcdAuthorities } from "./issue.ts"
import { receive, type Restored } from "./restore.ts"

const SQLITE = "SQLite format 3\0"

/** Whether a snapshot is one of SQLite; else it is one of etcd. */
export function isSqlite(snapshot: string): boolean {
  return named(`cannot read ${snapshot}`, () => {
    const file = openSync(snapshot, "r")
    try {
      const start = Buffer.alloc(SQLITE.length)
      readSync(file, start)
      return start.toString("latin1") === SQLITE
    } finally {
      closeSync(file)
    }
  })
}

export interface RestoreEtcd extends Omit<EmbeddedContext, "paths">, Omit<Restored, "now"> {
  readonly dataDir: string
}

/** Returns the folder in which the replaced data lies; null where there was none. All is as before until the last step, a rename.
 *  Throws SnapshotInvalid, SlotDidNotOpen, DataDirInUse, EtcdToolMissing. */
export async function restoreEtcd(of: RestoreEtcd): Promise<string | null> {
  const now = of.now()
  if (isSqlite(of.snapshot))
    throw new KnownError(
      "SnapshotInvalid",
      `${of.snapshot} is a snapshot of SQLite, and this server has an embedded etcd: restore it with a --data-dir of its own`,
    )
  using stack = new DisposableStack()
  const { paths, release } = openDataDir(of.dataDir, { now })
  stack.defer(release)
  const { etcd, state } = paths
  if (existsSync(state))
    throw new KnownError(
      "UsageInvalid",
      `there is a database, ${state}, beside the embedded etcd: move the one away that is not to be used`,
    )
  const { unfinished } = etcd
  const remove = () => rmSync(unfinished.data, { recursive: true, force: true })
  remove()
  stack.defer(remove)
  const peerUrl = readMember(etcd)?.peerUrl ?? newPeerUrl(of.options)
  const name = newMemberName(of.options.nodeName)
  const member = { name, peerUrl, cluster: `${name}=${peerUrl}`, isFirst: true }
  await runTool(of.snapshot, { ...member, folder: unfinished.data })
  writeMember({ ...etcd, ...unfinished }, member)
  if (readEtcdAuthorities(etcd) === null) writeEtcdAuthorities(etcd, await makeEtcdAuthorities(now))
  await tryOut({ ...of, paths: { ...paths, etcd: { ...etcd, ...unfinished } } })
  // The next start tries this one too, and keeps it for it opens the keyring.
  if (of.token !== null) writeDurably(paths.nextToken, `${of.token}\n`)
  rmSync(etcd.moving.data, { recursive: true, force: true })
  moveDurably(unfinished.data, etcd.moving.data)
  return settleMoved(paths, { now })
}

/** History is forgotten, for it goes on differently now. */
async function tryOut(of: RestoreEtcd & EmbeddedContext): Promise<void> {
  // Where no other member finds it: it is not in the place of the datastore yet.
  const etcd = await startEtcd(of, ["--listen-peer-urls=https://127.0.0.1:0"])
  try {
    const store = await etcd.open()
    of.signal.throwIfAborted()
    if (store === undefined) return
    try {
      await receive(store, { ...of, now: of.now() })
      await store.compact(await store.revision())
    } finally {
      await store.close()
    }
  } finally {
    await etcd.stop()
  }
}

const run = promisify(execFile)

interface ToolRun {
  readonly name: string
  readonly peerUrl: string
  readonly cluster: string
  readonly folder: string
}

const NOT_FOUND = 127
/** It may print the whole of two hashes, byte by byte. */
const SAID_MAX = 120

/** etcdutl came with etcd 3.5, and took this over from etcdctl. */
async function runTool(snapshot: string, of: ToolRun): Promise<void> {
  const args = ["snapshot", "restore", snapshot, `--data-dir=${of.folder}`]
  const more = [`--name=${of.name}`, `--initial-cluster=${of.cluster}`]
  // The cluster's id follows from it. Under that of before, members with the data of before would take this one for theirs.
  const own = `--initial-cluster-token=${of.name}`
  const flags = [...args, ...more, own, `--initial-advertise-peer-urls=${of.peerUrl}`]
  for (const tool of ["etcdutl", "etcdctl"]) {
    try {
      await run("env", ["ETCDCTL_API=3", tool, ...flags])
      return
    } catch (cause) {
      if (!(cause instanceof Error) || !("code" in cause)) throw cause
      if (cause.code === NOT_FOUND) continue
      const said = "stderr" in cause ? String(cause.stderr).trim().split("\n").at(-1) : ""
      const seen = `${snapshot} is no whole snapshot of etcd; ${tool} says: ${said?.slice(0, SAID_MAX)}`
      throw new KnownError("SnapshotInvalid", seen, { cause })
    }
  }
  throw new KnownError(
    "EtcdToolMissing",
    "neither etcdutl nor etcdctl is on PATH, and one of them restores etcd's snapshots",
  )
}
