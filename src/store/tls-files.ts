/** The files that --datastore-cafile, -certfile and -keyfile name. */
import { readFileSync } from "node:fs"
import { KnownError } from "../errors.ts"

/** Paths; null where none is given. */
export interface TlsFiles {
  readonly ca: string | null
  readonly cert: string | null
  readonly key: string | null
}

export const NO_TLS_FILES: TlsFiles = { ca: null, cert: null, key: null }

/** Their contents, of those that are given. `to`: whom TLS is spoken with, for messages. Throws FilesUnreadable. */
export function readTlsFiles(
  files: TlsFiles,
  to: string,
): { readonly ca?: string; readonly cert?: string; readonly key?: string } {
  const [ca, cert, key] = [pem(files.ca, to), pem(files.cert, to), pem(files.key, to)]
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) }
}

function pem(path: string | null, to: string): string | undefined {
  if (path === null) return undefined
  try {
    return readFileSync(path, "utf8")
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new KnownError("FilesUnreadable", `a file for TLS to ${to}: ${why}`, { cause })
  }
}
