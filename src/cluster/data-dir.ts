/** Where a server's files lie, named as K3s names them, and the lock that lets one server at a time have them. */
import { chmodSync, existsSync, realpathSync, rmSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { pid } from "node:process"
import { DatabaseSync } from "node:sqlite"
import { KnownError } from "../errors.ts"
import { stepSync } from "../step.ts"
import {
  linkDurably,
  makeDir,
  makePrivateDir,
  named,
  readIfPresent,
  writeDurably,
  writeIfChanged,
} from "./files.ts"

/** Names other programs look for (K3s, its users' scripts): never change one. */
export function dataDirPaths(dataDir: string) {
  const server = join(dataDir, "server")
  const cred = join(server, "cred")
  const tls = join(server, "tls")
  const db = join(server, "db")
  const etcd = join(db, "etcd")
  const pair = (name: string) => ({
    cert: join(tls, `${name}.crt`),
    key: join(tls, `${name}.key`),
  })
  return {
    dataDir,
    server,
    cred,
    tls,
    db,
    token: join(server, "token"),
    /** A token that is about to take the other's place; ours, not K3s'. */
    nextToken: join(server, "token.next"),
    nodeToken: join(server, "node-token"),
    encryptionConfig: join(cred, "encryption-config.json"),
    encryptionState: join(cred, "encryption-state.json"),
    serverCa: pair("server-ca"),
    clientCa: pair("client-ca"),
    serving: pair("serving-kube-apiserver"),
    admin: pair("client-admin"),
    state: join(db, "state.db"),
    etcd: {
      data: etcd,
      /** Which member of which cluster the data is; ours, not K3s'. */
      member: join(etcd, "member.json"),
      /** A copy that is being made, of the database or of a snapshot. */
      unfinished: { data: `${etcd}.unfinished`, member: join(`${etcd}.unfinished`, "member.json") },
      /** A finished one on its way to become the data. */
      moving: { data: `${etcd}.moving`, member: join(`${etcd}.moving`, "member.json") },
      pid: join(db, "etcd.pid"),
      tls: join(tls, "etcd"),
      serverCa: pair("etcd/server-ca"),
      peerCa: pair("etcd/peer-ca"),
      server: pair("etcd/server-client"),
      peer: pair("etcd/peer-server-client"),
      client: pair("etcd/client"),
    },
    snapshots: join(db, "snapshots"),
    lock: join(server, "lock.db"),
    holder: join(server, "lock.pid"),
  } as const
}

export type DataDirPaths = ReturnType<typeof dataDirPaths>

/** Where a restore puts what it replaces, in the folder `db` or beside a database of another place. */
export const beforeRestore = (folder: string, now: Date): string =>
  join(folder, `before-restore-${inName(now)}`)

/** Where the move to etcd puts the database. */
export const beforeEtcd = ({ state }: DataDirPaths, now: Date): string =>
  `${state}.before-etcd-${inName(now)}`

/** Whether a name in the folder `db` is one of these. */
export const isSetAside = (name: string): boolean =>
  /^(before-restore-|state\.db\.before-etcd-)/.test(name)

const inName = (now: Date): string => now.toISOString().slice(0, 19).replaceAll(":", "-")

/** The locked directory. `release` is for a server that stops inside a living process; the end of the process, however
 *  it comes, releases as well. */
export interface DataDir {
  readonly paths: DataDirPaths
  release(): void
}

/** The garbage collector closes a database that nobody holds, and with it the lock would go. */
const held = new Set<DatabaseSync>()

/** How long to wait for a server that is just ending, or just writing down who it is. */
const WAIT_MS = 500

/** Makes the directories and takes the lock. Throws KnownError DataDirInUse while another server has it. */
export function openDataDir(dataDir: string, { now }: { readonly now: Date }): DataDir {
  const paths = dataDirPaths(dataDir)
  makeDir(dataDir)
  for (const own of [paths.server, paths.cred, paths.tls, paths.db]) makePrivateDir(own)
  const { lock, holder } = paths
  return { paths, release: claim({ what: dataDir, lock, holder, now }) }
}

/** A database file, wherever it lies and whatever symbolic link names it, is one server's too: another one's writes would be
 *  events that its watchers never see. Returns what releases it. Throws DataDirInUse. */
export function claimDatabase(path: string, { now }: { readonly now: Date }): () => void {
  makeDir(dirname(path))
  const file = named(`cannot follow ${path}`, () =>
    existsSync(path) ? realpathSync(path) : join(realpathSync(dirname(path)), basename(path)),
  )
  return claim({ what: path, lock: `${file}.lock`, holder: `${file}.lock.pid`, now })
}

interface Claim {
  /** For messages. */
  readonly what: string
  readonly lock: string
  /** The file that says whose the lock is. */
  readonly holder: string
}

/** The lock is SQLite's own exclusive lock on an empty database: the kernel drops it with the process, so none is ever
 *  stale. On POSIX *any* close of a file drops the locks of its process: nothing else here may open that file. */
function claim({ now, ...of }: Claim & { readonly now: Date }): () => void {
  const lock = takeLock(of)
  held.add(lock)
  writeDurably(of.holder, `${pid} ${now.toISOString()}\n`)
  return () => {
    if (held.delete(lock)) lock.close()
  }
}

function takeLock(of: Claim): DatabaseSync {
  let lock: DatabaseSync | undefined
  try {
    lock = new DatabaseSync(of.lock, { timeout: WAIT_MS })
    chmodSync(of.lock, 0o600)
    lock.exec("BEGIN EXCLUSIVE")
    return lock
  } catch (error) {
    lock?.close()
    if (!(error instanceof Error)) throw error
    if ("errcode" in error && error.errcode === SQLITE_BUSY) {
      throw new KnownError("DataDirInUse", `${of.what} is in use by ${nameOf(of.holder)}`)
    }
    const isFull = "errcode" in error && error.errcode === SQLITE_FULL
    const message = `cannot lock ${of.lock}: ${error.message}`
    throw new KnownError(isFull ? "DiskFull" : "FilesUnreadable", message, { cause: error })
  }
}

const SQLITE_BUSY = 5
const SQLITE_FULL = 13

/** The note beside the lock may be missing or older than the lock (kill -9): it is only believed about a living process. */
function nameOf(holder: string): string {
  const note = /^(\d+) (\S+)\n$/.exec(readIfPresent(holder) ?? "")
  if (note === null || !alive(Number(note[1]))) return "another process"
  return `the server with pid ${note[1]}, started ${note[2]}`
}

function alive(process: number): boolean {
  try {
    return globalThis.process.kill(process, 0)
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM"
  }
}

/** The token of this directory without its line end, or null where none was written yet. */
export const readToken = (paths: DataDirPaths): string | null =>
  readIfPresent(paths.token)?.trim() ?? null

/** `node-token` is the name that K3s' own manual tells people to read. */
export function writeToken(paths: DataDirPaths, token: string) {
  stepSync("token-file", () => writeIfChanged(paths.token, `${token}\n`))
  stepSync("node-token", () => linkDurably({ path: paths.nodeToken, target: "token" }))
}

export function removeToken(paths: DataDirPaths) {
  for (const path of [paths.nodeToken, paths.token])
    named(`cannot remove ${path}`, () => rmSync(path, { force: true }))
}
