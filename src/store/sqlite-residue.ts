/** What old values leave behind in the database file: how it is found, and how it is removed.
 *
 *  secure_delete zeroes what is deleted, but rows that moved to another page while the tree was balanced leave copies behind in
 *  the old one. Only VACUUM removes these, for it writes every page afresh; that is sqlite-afresh.ts', a thread of its own. */
import { once } from "node:events"
import { closeSync, openSync, read } from "node:fs"
import { extname, join } from "node:path"
import { promisify } from "node:util"
import { Worker } from "node:worker_threads"
import type { Outcome } from "./sqlite-afresh.ts"

const SLICE_BYTES = 1 << 20
const readSlice = promisify(read)

/** The bytes of a database file. When a process closes any descriptor of a file, POSIX takes away all its locks on it, those of
 *  SQLite too: close it after the database. */
export class RawFile implements Disposable {
  readonly #file: number

  constructor(path: string) {
    this.#file = openSync(path, "r")
  }

  /** Whether one of `searched` is in the file. None is empty; other work has its turn between two slices. */
  async holds(searched: readonly Uint8Array[]): Promise<boolean> {
    const kept = Math.max(...searched.map(({ length }) => length)) - 1
    const common = commonStart(searched)
    // Each slice begins with the end of the one before: what is searched may lie across.
    const slice = Buffer.alloc(kept + SLICE_BYTES)
    for (let position = 0; ; ) {
      const { bytesRead } = await readSlice(this.#file, slice, kept, SLICE_BYTES, position)
      if (bytesRead === 0) return false
      if (includes(slice.subarray(0, kept + bytesRead), { searched, common })) return true
      slice.copyWithin(0, bytesRead, kept + bytesRead)
      position += bytesRead
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }
}

/** One pass for the start that all share, which tells almost all places apart. */
function includes(
  bytes: Buffer,
  { searched, common }: { searched: readonly Uint8Array[]; common: Uint8Array },
): boolean {
  if (common.length === 0) return searched.some((one) => bytes.includes(one))
  for (let at = bytes.indexOf(common); at >= 0; at = bytes.indexOf(common, at + 1))
    if (searched.some((one) => bytes.subarray(at, at + one.length).equals(one))) return true
  return false
}

function commonStart([first = new Uint8Array(), ...others]: readonly Uint8Array[]): Uint8Array {
  const end = first.findIndex((byte, at) => others.some((other) => other[at] !== byte))
  return end < 0 ? first : first.subarray(0, end)
}

const AFRESH = join(import.meta.dirname, `sqlite-afresh${extname(import.meta.filename)}`)

/** Writes the database afresh and empties its log. Whoever else writes waits meanwhile. Throws as SQLite does.
 *
 *  In this process, for another would rely on locks that any reader of the file here may have taken away. */
export async function writeAfresh(path: string): Promise<void> {
  const worker = new Worker(AFRESH, { workerData: path, execArgv: [], env: {} })
  const [said] = await Promise.all([once(worker, "message"), once(worker, "exit")])
  const { message, errcode } = said[0] as Outcome
  if (message !== undefined) throw Object.assign(new Error(message), { errcode })
}
