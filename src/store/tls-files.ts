/** The files that --datastore-cafile, -certfile and -keyfile name. */
import { X509Certificate } from "node:crypto"
import { readFileSync } from "node:fs"
import { createSecureContext } from "node:tls"
import { KnownError } from "../errors.ts"

/** Paths; null where none is given. */
export interface TlsFiles {
  readonly ca: string | null
  readonly cert: string | null
  readonly key: string | null
}

export const NO_TLS_FILES: TlsFiles = { ca: null, cert: null, key: null }

/** Contents of those that are given. */
export interface Tls {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/** Their contents as they are now, for each connection: renewed ones need no restart. While they cannot be used (a renewal is under
 *  way) they are what they were; throws FilesUnreadable where they never were used. `to`: whom TLS is spoken with, for messages. */
export function tlsOf(files: TlsFiles, to: string): () => Tls {
  let last: Tls | undefined
  return () => {
    try {
      return (last = usable(files))
    } catch (cause) {
      if (last !== undefined) return last
      const why = cause instanceof Error ? cause.message : String(cause)
      const given = Object.values(files).filter((path) => path !== null)
      const seen = `a file for TLS to ${to}: ${why}; given are ${given.join(", ")}`
      throw new KnownError("FilesUnreadable", seen, { cause })
    }
  }
}

function usable(files: TlsFiles): Tls {
  const [ca, cert, key] = [read(files.ca), read(files.cert), read(files.key)]
  const tls = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) }
  if (ca !== undefined) void new X509Certificate(ca) // throws where it holds none, and nobody were trusted
  // Throws where the certificate is not the key's.
  if (Object.keys(tls).length > 0) createSecureContext(tls)
  return tls
}

/** An empty one would be as none: TLS that verifies nobody. */
function read(path: string | null): string | undefined {
  const text = path === null ? undefined : readFileSync(path, "utf8")
  if (text?.trim() === "") throw new Error(`${path} is empty`)
  return text
}
