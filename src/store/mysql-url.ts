/** `mysql://user:password@tcp(host:port)/database`, as kine and K3s write it, or `mysql://user:password@host:port/database`.
 *  The first is Go's: user and password stand there as they are, and end at the last `@`. The second is a URL: what is no
 *  letter or digit is percent-encoded. The text may hold a password: no message quotes it. */
import { KnownError } from "../errors.ts"
import type { Tls } from "./tls-files.ts"

const TLS_MODES = ["false", "preferred", "skip-verify", "true"] as const
type TlsMode = (typeof TLS_MODES)[number]

export interface MysqlAddress {
  /** A host name, an address, or the path of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  readonly tls: TlsMode | undefined
}

/** How to speak TLS; `verifies`: only to a server whose certificate is of a trusted authority and has its name. */
export interface MysqlTls extends Tls {
  readonly verifies: boolean
}

/** `where`: what the text was given as, for messages. Throws KnownError UsageInvalid. */
export function parseMysqlUrl(text: string, where: string): MysqlAddress {
  const refuse = (why: string): never => {
    const form = "mysql://user:password@tcp(host:port)/database"
    throw new KnownError("UsageInvalid", `${where} ${why}; expected is ${form}`)
  }
  const decoded = (part: string): string => {
    try {
      return decodeURIComponent(part)
    } catch {
      return refuse("has a % that is not followed by two hexadecimal digits")
    }
  }
  const go = goForm(text)
  const plain = go?.plain ?? text
  const url = URL.canParse(plain) ? new URL(plain) : refuse("is not an address")
  const { tls: mode, ...others } = Object.fromEntries(url.searchParams)
  const [other] = Object.keys(others)
  if (other !== undefined) refuse(`has a parameter ${other}; known is tls`)
  const tls = TLS_MODES.find((known) => known === mode)
  if (mode !== undefined && tls === undefined) {
    refuse(`has a tls that is none of ${TLS_MODES.join(", ")}`)
  }
  return {
    host: go?.socket ?? (decoded(url.hostname).replace(/^\[(.*)\]$/, "$1") || "localhost"),
    port: url.port === "" ? 3306 : Number(url.port),
    user: (go?.user ?? decoded(url.username)) || "root",
    password: go?.password ?? decoded(url.password),
    database: decoded(url.pathname.slice(1)) || "kubernetes",
    tls,
  }
}

/** Go's form taken apart: what is no login and no socket is left as a URL. */
function goForm(text: string) {
  const found = /^mysql:\/\/(?:(.*)@)?(tcp|unix)\(([^()]*)\)(.*)$/s.exec(text)
  if (found === null) return undefined
  const [, login = "", net, at = "", rest = ""] = found
  const [user = "", ...password] = login.split(":")
  const isSocket = net === "unix"
  return {
    user,
    password: password.join(":"),
    socket: isSocket ? at : undefined,
    plain: `mysql://${isSocket ? "" : at}${rest}`,
  }
}

/** The ways to try, one after the other where the server offers no TLS; undefined: without. As in kine, a file makes it
 *  verified, and without one there is none unless the address asks for it. */
export function mysqlTlsWays(
  { host, tls }: MysqlAddress,
  given: Tls,
): readonly (MysqlTls | undefined)[] {
  const standard = Object.keys(given).length > 0 ? "true" : "false"
  const verified = { ...given, verifies: true }
  const unverified = { ...given, verifies: false }
  const ways: Record<TlsMode, readonly (MysqlTls | undefined)[]> = {
    false: [undefined],
    preferred: [unverified, undefined],
    "skip-verify": [unverified],
    true: [verified],
  }
  return host.startsWith("/") ? [undefined] : ways[tls ?? standard]
}
