/** What old values leave behind in the database file: how it is found, and how it is removed.
 *
 *  secure_delete zeroes what is deleted, but rows that moved to another page while the tree was balanced leave copies behind in
 *  the old one. Only VACUUM removes these, for it writes every page afresh; that is sqlite-afresh.ts', a process of its own. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { closeSync, openSync, read } from "node:fs"
import { extname, join } from "node:path"
import { execPath } from "node:process"
import { text } from "node:stream/consumers"
import { promisify } from "node:util"
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
    for (let position = 0; ; position += SLICE_BYTES) {
      const { bytesRead } = await readSlice(this.#file, slice, kept, SLICE_BYTES, position)
      if (bytesRead === 0) return false
      if (includes(slice.subarray(0, kept + bytesRead), { searched, common })) return true
      slice.copyWithin(0, SLICE_BYTES)
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
  for (let at = bytes.indexOf(common); at >= 0; at = bytes.indexOf(common, at + 1))
    if (searched.some((one) => bytes.subarray(at, at + one.length).equals(one))) return true
  return false
}

function commonStart([first = new Uint8Array(), ...others]: readonly Uint8Array[]): Uint8Array {
  const end = first.findIndex((byte, at) => others.some((other) => other[at] !== byte))
  return end < 0 ? first : first.subarray(0, end)
}

const AFRESH = join(import.meta.dirname, `sqlite-afresh${extname(import.meta.filename)}`)

/** Writes the database afresh and empties its log. Whoever else writes waits meanwhile; the signal ends it with nothing changed.
 *  Throws as SQLite does. */
export async function writeAfresh(path: string, signal: AbortSignal): Promise<void> {
  const stdio: ["pipe", "pipe", "ignore"] = ["pipe", "pipe", "ignore"]
  const child = spawn(execPath, [AFRESH], { stdio, env: {}, signal, killSignal: "SIGKILL" })
  child.stdin.end(path)
  const [said] = await Promise.all([text(child.stdout), once(child, "close")])
  if (said === "") throw new Error(`${AFRESH} ended with ${child.signalCode ?? child.exitCode}`)
  const { message, errcode } = JSON.parse(said) as Outcome
  if (message !== undefined) throw Object.assign(new Error(message), { errcode })
}
