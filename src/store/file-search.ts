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
  readonly texts: readonly Uint8Array[]
  /** How many bytes from a place on are told: no fewer than the longest text has. */
  readonly bytesMax: number
  readonly signal?: AbortSignal | undefined
}

/** The bytes at every place where one of the texts stands, each until the next one is asked for. Files that are not there hold
 *  nothing. */
export async function* placesIn(files: readonly string[], search: Search): AsyncGenerator<Buffer> {
  const { texts, bytesMax, signal } = search
  for (const path of files.filter((file) => existsSync(file)))
    for await (const { bytes, upTo } of windowsOf(path, bytesMax)) {
      signal?.throwIfAborted()
      for (const at of occurrences(bytes, texts))
        if (at < upTo) yield bytes.subarray(at, at + bytesMax)
    }
}

/** Whether one of the texts stands in the file. */
export async function holds(path: string, texts: readonly Uint8Array[]): Promise<boolean> {
  const bytesMax = Math.max(...texts.map(({ length }) => length))
  for await (const _ of placesIn([path], { texts, bytesMax })) return true
  return false
}

/** One pass for the start that all texts share, which tells almost all places apart. */
function* occurrences(bytes: Buffer, texts: readonly Uint8Array[]): Generator<number> {
  const common = commonStart(texts)
  const pieces = common.length > 0 ? [common] : texts
  for (const piece of pieces)
    for (let at = bytes.indexOf(piece); at >= 0; at = bytes.indexOf(piece, at + 1))
      if (texts.some((text) => bytes.subarray(at, at + text.length).equals(text))) yield at
}

function commonStart([first = new Uint8Array(), ...others]: readonly Uint8Array[]): Uint8Array {
  const end = first.findIndex((byte, at) => others.some((other) => other[at] !== byte))
  return end < 0 ? first : first.subarray(0, end)
}

/** Until the next one is asked for. */
interface Window {
  readonly bytes: Buffer
  /** Where the next one begins; what stands beyond is in both. */
  readonly upTo: number
}

async function* windowsOf(path: string, overlapBytes: number): AsyncGenerator<Window> {
  const file = descriptorOf(path)
  const buffer = Buffer.alloc(overlapBytes + CHUNK_BYTES)
  for (let [position, kept] = [0, 0]; ; ) {
    const { bytesRead } = await readChunk(file, buffer, kept, CHUNK_BYTES, position)
    const end = kept + bytesRead
    const upTo = bytesRead === 0 ? end : Math.max(0, end - overlapBytes)
    yield { bytes: buffer.subarray(0, end), upTo }
    if (bytesRead === 0) return
    buffer.copyWithin(0, upTo, end)
    kept = end - upTo
    position += bytesRead
  }
}

function descriptorOf(path: string): number {
  const { dev, ino } = statSync(path)
  const place = `${dev}:${ino}`
  const file = descriptors.get(place) ?? openSync(path, "r")
  descriptors.set(place, file)
  return file
}
