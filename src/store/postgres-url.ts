/** `postgres://user:password@host:port/database?sslmode=…`, as kine reads it. The text may hold a password: no message
 *  quotes it. */
import { checkServerIdentity, type ConnectionOptions } from "node:tls"
import { KnownError } from "../errors.ts"
import type { Tls } from "./tls-files.ts"

const SSL_MODES = ["disable", "prefer", "require", "verify-ca", "verify-full"] as const
type SslMode = (typeof SSL_MODES)[number]

export interface PostgresAddress {
  /** A host name, an address, or the folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  readonly sslMode: SslMode | undefined
}

/** `where`: what the text was given as, for messages. Throws KnownError UsageInvalid. */
export function parsePostgresUrl(text: string, where: string): PostgresAddress {
  const refuse = (why: string): never => {
    const form = "postgres://user:password@host:port/database"
    throw new KnownError("UsageInvalid", `${where} ${why}; expected is ${form}`)
  }
  const decoded = (part: string): string => {
    try {
      return decodeURIComponent(part)
    } catch {
      return refuse("has a % that is not followed by two hexadecimal digits")
    }
  }
  const url = URL.canParse(text) ? new URL(text) : refuse("is not a URL")
  const { host = decoded(url.hostname), sslmode, ...others } = Object.fromEntries(url.searchParams)
  const [other] = Object.keys(others)
  if (other !== undefined) refuse(`has a parameter ${other}; known are host and sslmode`)
  const sslMode = SSL_MODES.find((mode) => mode === sslmode)
  if (sslmode !== undefined && sslMode === undefined) {
    refuse(`has an sslmode that is none of ${SSL_MODES.join(", ")}`)
  }
  return {
    host: host.replace(/^\[(.*)\]$/, "$1") || "localhost",
    port: url.port === "" ? 5432 : Number(url.port),
    user: decoded(url.username) || "postgres",
    password: decoded(url.password),
    // Folded as PostgreSQL folds a name without quotes; kine does the same.
    database: decoded(url.pathname.slice(1)).toLowerCase() || "kubernetes",
    sslMode,
  }
}

/** How to speak TLS: each way is tried where the one before was refused for want of TLS. As in kine, a file makes it
 *  verify-full; without one TLS is taken where the server offers it. */
export function tlsWays(
  { host, sslMode }: PostgresAddress,
  given: Tls,
): readonly (ConnectionOptions | false)[] {
  const standard = Object.keys(given).length > 0 ? "verify-full" : "prefer"
  const unverified = { ...given, rejectUnauthorized: false }
  const ways: Record<SslMode, readonly (ConnectionOptions | false)[]> = {
    disable: [false],
    prefer: [unverified, false],
    require: [
      given.ca === undefined ? unverified : { ...given, checkServerIdentity: () => undefined },
    ],
    "verify-ca": [{ ...given, checkServerIdentity: () => undefined }],
    "verify-full": [
      { ...given, checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate) },
    ],
  }
  return host.startsWith("/") ? [false] : ways[sslMode ?? standard]
}
