/** A search through the bytes of whole files, whatever they mean to the database that owns them: pages in use and free ones, what
 *  is left over in a page, a write-ahead log. A text that the end of a page cuts in two is not found. */
import { existsSync, openSync, read, statSync } from "node:fs"
import { promisify } from "node:util"

const CHUNK_BYTES = 1 << 20
const readChunk = promisify(read)

/** By device and inode, for the life of the process: when a process closes any descriptor of a file, POSIX takes away all its locks
 *  on it, those of an SQLite that it has open too. */
const descriptors = new Map<string, number>()

export interface Search {
  readonly texts: readonly Buffer[]
  /** How many bytes from a place on are told. */
  readonly bytesMax: number
  readonly signal?: AbortSignal | undefined
}

/** The bytes at every place where one of the texts stands. Files that are not there hold nothing. */
export async function* placesIn(files: readonly string[], search: Search): AsyncGenerator<Buffer> {
  const { texts, bytesMax, signal } = search
  for (const path of files.filter((file) => existsSync(file)))
    for await (const { bytes, upTo } of windowsOf(path, bytesMax)) {
      signal?.throwIfAborted()
      for (const text of texts)
        for (let at = bytes.indexOf(text); at >= 0 && at < upTo; at = bytes.indexOf(text, at + 1))
          yield bytes.subarray(at, at + bytesMax)
    }
}

interface Window {
  readonly bytes: Buffer
  /** Where the next one begins; what stands beyond is in both. */
  readonly upTo: number
}

async function* windowsOf(path: string, overlapBytes: number): AsyncGenerator<Window> {
  const file = descriptorOf(path)
  let kept = Buffer.alloc(0)
  for (let position = 0; ; ) {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
    const { bytesRead } = await readChunk(file, chunk, 0, CHUNK_BYTES, position)
    const bytes = Buffer.concat([kept, chunk.subarray(0, bytesRead)])
    const upTo = bytesRead === 0 ? bytes.length : Math.max(0, bytes.length - overlapBytes)
    yield { bytes, upTo }
    if (bytesRead === 0) return
    position += bytesRead
    kept = bytes.subarray(upTo)
  }
}

function descriptorOf(path: string): number {
  const { dev, ino } = statSync(path)
  const place = `${dev}:${ino}`
  const file = descriptors.get(place) ?? openSync(path, "r")
  descriptors.set(place, file)
  return file
}
