/** A search through the bytes of whole files, whatever they mean to the database that owns them: pages in use and free ones, what
 *  is left over in a page, a write-ahead log. A text that the end of a page cuts in two is not found. */
import { existsSync } from "node:fs"
import { open } from "node:fs/promises"

const CHUNK_BYTES = 1 << 20

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
  await using file = await open(path)
  for (let kept = Buffer.alloc(0); ; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES))
    const bytes = Buffer.concat([kept, buffer.subarray(0, bytesRead)])
    const upTo = bytesRead === 0 ? bytes.length : Math.max(0, bytes.length - overlapBytes)
    yield { bytes, upTo }
    if (bytesRead === 0) return
    kept = bytes.subarray(upTo)
  }
}
