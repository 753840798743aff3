/** Files that must survive a power cut, and directories that are nobody else's business. Synchronous: a caller's next step
 *  relies on the bytes being on the disk. Says nothing about what the files mean. */
import {
  chmodSync,
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { basename, dirname, join } from "node:path"
import { getSystemErrorMessage } from "node:util"
import { KnownError } from "../errors.ts"

export interface FileMode {
  /** Permission bits, exactly these whatever the umask; 0600 where absent. */
  readonly mode?: number
}

const PRIVATE_FILE = 0o600
const PRIVATE_DIR = 0o700

/** After it returns the file holds all of `content`, also after a power cut; until then it holds what it held before. */
export function writeDurably(
  path: string,
  content: string,
  { mode = PRIVATE_FILE }: FileMode = {},
) {
  named(`cannot write ${path}`, () =>
    replace(path, (temporary) => {
      const file = openSync(temporary, "wx", mode)
      try {
        fchmodSync(file, mode)
        writeFileSync(file, content)
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
    }),
  )
}

/** {@link writeDurably}, but leaves a file alone that is already so. Returns whether it wrote. */
export function writeIfChanged(
  path: string,
  content: string,
  { mode = PRIVATE_FILE }: FileMode = {},
) {
  if (readIfPresent(path) !== content) {
    writeDurably(path, content, { mode })
    return true
  }
  named(`cannot set the mode of ${path}`, () => {
    if ((statSync(path).mode & 0o777) !== mode) chmodSync(path, mode)
  })
  return false
}

/** Makes `path` a symbolic link to `target`, whatever it was (but a directory). */
export function linkDurably({ path, target }: { readonly path: string; readonly target: string }) {
  named(`cannot write ${path}`, () => {
    const now = lstatSync(path, { throwIfNoEntry: false })
    if (now?.isSymbolicLink() && readlinkSync(path) === target) return
    replace(path, (temporary) => symlinkSync(target, temporary))
  })
}

/** The file's text, or null where there is no such file. */
export function readIfPresent(path: string): string | null {
  return named(`cannot read ${path}`, () => {
    try {
      return readFileSync(path, "utf8")
    } catch (error) {
      if (isErrno(error) && error.code === "ENOENT") return null
      throw error
    }
  })
}

/** The text of a file that somebody named. Throws FilesUnreadable where it is missing. */
export const readNamed = (path: string): string =>
  named(`cannot read ${path}`, () => readFileSync(path, "utf8"))

/** Makes the directory and its missing parents, 0700 unless told otherwise; leaves existing ones as they are. */
export function makeDir(path: string, { mode = PRIVATE_DIR }: FileMode = {}) {
  named(`cannot make the directory ${path}`, () => {
    const missing: string[] = []
    for (let above = path; !existsSync(above); above = dirname(above)) missing.unshift(above)
    for (const folder of missing) {
      // One by one: on some file systems (/proc) Node's own `recursive` never ends.
      makeOne(folder, mode)
      syncDir(dirname(folder))
    }
  })
}

function makeOne(path: string, mode: number) {
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    const madeMeanwhile = isErrno(error) && error.code === "EEXIST"
    if (!madeMeanwhile) throw error
  }
}

/** A directory of this program alone: made if missing, closed to others if it was open to them. */
export function makePrivateDir(path: string) {
  makeDir(path)
  named(`cannot close the directory ${path} to others`, () => {
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, PRIVATE_DIR)
  })
}

/** Puts a file in the place of another, on the same file system; its content must be durable already. */
export function moveDurably(from: string, to: string) {
  named(`cannot write ${to}`, () => {
    renameSync(from, to)
    syncDir(dirname(to))
  })
}

/** The temporary name is fixed, so a crash leaves at most one such file, and the next write removes it. */
function replace(path: string, make: (temporary: string) => void) {
  const temporary = join(dirname(path), `.${basename(path)}.tmp`)
  try {
    rmSync(temporary, { force: true })
    make(temporary)
    renameSync(temporary, path)
  } catch (error) {
    if (existsSync(dirname(path))) rmSync(temporary, { force: true })
    throw error
  }
  syncDir(dirname(path))
}

function syncDir(path: string) {
  const dir = openSync(path, "r")
  try {
    fsyncSync(dir)
  } finally {
    closeSync(dir)
  }
}

/** Runs it and, where the system refuses, says what could not be done and why. */
export function named<T>(what: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw refused(what, error)
  }
}

/** What the system refused as a KnownError; anything else as it is. */
export function refused(what: string, error: unknown): unknown {
  if (!isErrno(error)) return error
  const full = error.code === "ENOSPC" || error.code === "EDQUOT"
  const why = error.errno === undefined ? error.code : getSystemErrorMessage(error.errno)
  return new KnownError(full ? "DiskFull" : "FilesUnreadable", `${what}: ${why}`, { cause: error })
}

const isErrno = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && "syscall" in error
