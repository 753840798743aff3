/** Snapshots: copies of the whole datastore of one server, its keyring included, in a folder of their own, as K3s names them. */
import { existsSync, readdirSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { KnownError } from "../errors.ts"
import type { Store } from "../store/store.ts"
import type { DataDirPaths } from "./data-dir.ts"
import { makePrivateDir, moveDurably, named, refused } from "./files.ts"

export interface Snapshot {
  readonly name: string
  readonly path: string
  readonly bytes: number
  /** RFC 3339. */
  readonly saved: string
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/

/** One at a time: the unfinished copy has a name of its own, so that a crash leaves no more than one, which the next replaces. */
export async function saveSnapshot(
  { snapshots }: DataDirPaths,
  of: { store: Store; name: string; nodeName: string; now: Date },
): Promise<Snapshot> {
  if (!NAME.test(of.name))
    throw new KnownError(
      "UsageInvalid",
      "a snapshot's name is 1 to 100 letters, digits, dots, dashes and underscores, and begins with a letter or digit",
    )
  makePrivateDir(snapshots)
  const unfinished = join(snapshots, ".unfinished")
  const name = `${of.name}-${of.nodeName}-${Math.floor(of.now.getTime() / 1000)}`
  rmSync(unfinished, { force: true })
  try {
    await of.store.snapshot(unfinished)
    moveDurably(unfinished, join(snapshots, name))
  } catch (error) {
    throw refused(`cannot write ${unfinished}`, error)
  } finally {
    rmSync(unfinished, { force: true })
  }
  return describe(snapshots, name)
}

/** What SQLite leaves beside a snapshot that is looked into where it lies, as `verify` does. A name of ours ends in digits. */
const BESIDE = /-(shm|wal)$/

/** The oldest first. */
export function listSnapshots({ snapshots }: DataDirPaths): Snapshot[] {
  return named(`cannot read ${snapshots}`, () => {
    if (!existsSync(snapshots)) return []
    return readdirSync(snapshots, { withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.startsWith(".") && !BESIDE.test(entry.name))
      .map(({ name }) => describe(snapshots, name))
      .toSorted((a, b) => a.saved.localeCompare(b.saved) || a.name.localeCompare(b.name))
  })
}

function describe(folder: string, name: string): Snapshot {
  const path = join(folder, name)
  const { size, mtime } = statSync(path)
  return { name, path, bytes: size, saved: `${mtime.toISOString().slice(0, 19)}Z` }
}

/** Of a snapshot in the folder by its name, or of a file elsewhere by its path. Throws SnapshotInvalid. */
export function findSnapshot({ snapshots }: DataDirPaths, wanted: string): string {
  const path = wanted.includes("/") ? wanted : join(snapshots, wanted)
  if (existsSync(path)) return path
  throw new KnownError("SnapshotInvalid", `there is no snapshot ${path}`)
}
