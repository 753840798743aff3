/** What lies in `server/tls`: the two authorities, which come as a value (the keyring holds them), and the certificates under
 *  them, under K3s' file names. All of it is output, remade whenever it no longer serves. Looking at it is node:crypto's work
 *  and costs a start nothing; issuing is issue.ts'. */
import type { KeyObject } from "node:crypto"
import { createPrivateKey, X509Certificate } from "node:crypto"
import { isIP, SocketAddress } from "node:net"
import { KnownError } from "../errors.ts"
import type { DataDirPaths } from "./data-dir.ts"
import { stepSync } from "../step.ts"
import { readIfPresent, writeIfChanged } from "./files.ts"
import { DAY_MS, issueAdmin, issueServing, SERVING_NAME } from "./issue.ts"
import { type Authorities, firstOf, type Pair } from "./pem.ts"

export interface Certificates {
  readonly serving: Pair
  readonly admin: Pair
  /** One sentence for each certificate that was issued now, with the reason; for the log. */
  readonly issued: readonly string[]
}

const RENEW_BELOW_DAYS = 30

/** All names that a client on this or another machine may use for the server: host names and IP addresses in their
 *  canonical form, sorted, each once. */
export function servingNames(given: {
  readonly hostname: string
  readonly bindAddress: string
  readonly tlsSans: readonly string[]
}): readonly string[] {
  const everywhere = ["localhost", "127.0.0.1", "::1"]
  const inCluster = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
  const bound = ["0.0.0.0", "::"].includes(given.bindAddress) ? [] : [given.bindAddress]
  const all = [...everywhere, ...inCluster, given.hostname, ...bound, ...given.tlsSans]
  return [...new Set(all.filter((name) => name !== "").map(canonicalName))].toSorted()
}

export const canonicalName = (name: string): string =>
  isIP(name) === 6
    ? new SocketAddress({ address: name, family: "ipv6" }).address
    : name.toLowerCase()

export interface Wanted {
  readonly ca: Pair
  readonly now: Date
  /** Of a serving certificate: the names it must be for. */
  readonly names?: readonly string[]
}

/** Why the pair must be issued anew, or null where it still serves. */
export function renewalReason(pair: Pair | null, { ca, now, names }: Wanted): string | null {
  if (pair === null) return "there was none"
  const opened = opening(pair)
  if (opened === null) return "it was not readable"
  const { cert, key } = opened
  const issuer = firstOf(ca)
  if (!cert.checkPrivateKey(key)) return "its key was another one's"
  if (!cert.checkIssued(issuer) || !cert.verify(issuer.publicKey)) return "another CA had issued it"
  if (now < cert.validFromDate) return `it is not valid before ${cert.validFromDate.toISOString()}`
  return endsSoon({ cert, issuer, now }) ?? namesChanged(cert, names)
}

function opening({ cert, key }: Pair): { cert: X509Certificate; key: KeyObject } | null {
  try {
    return { cert: new X509Certificate(cert), key: createPrivateKey(key) }
  } catch {
    return null
  }
}

/** A certificate that already lasts as long as its CA would only be made again and again. */
function endsSoon(given: {
  readonly cert: X509Certificate
  readonly issuer: X509Certificate
  readonly now: Date
}): string | null {
  const end = given.cert.validToDate
  const left = (end.getTime() - given.now.getTime()) / DAY_MS
  if (left >= RENEW_BELOW_DAYS || end >= given.issuer.validToDate) return null
  return left < 0 ? `it ended on ${end.toISOString()}` : `it ends on ${end.toISOString()}`
}

/** Ours must be for exactly these names; one that K3s made may be for more. */
function namesChanged(cert: X509Certificate, names: readonly string[] | undefined): string | null {
  if (names === undefined) return null
  const had = namesOf(cert)
  const added = names.filter((name) => !had.includes(name))
  if (added.length > 0) return `it was not for ${added.join(", ")}`
  const gone = had.filter((name) => !names.includes(name))
  const ours = cert.subject === `CN=${SERVING_NAME}`
  return ours && gone.length > 0 ? `it was for ${gone.join(", ")} too` : null
}

/** The DNS names and IP addresses a certificate is for. */
export const namesOf = (cert: X509Certificate): string[] =>
  (cert.subjectAltName ?? "").split(", ").flatMap((entry) => {
    const [, name] = /^(?:DNS|IP Address):(.+)$/.exec(entry) ?? []
    return name === undefined ? [] : [canonicalName(name)]
  })

export type PairPaths = { readonly cert: string; readonly key: string }

/** The authorities that lie in the data directory: K3s' own, or what an earlier start wrote; null where there are none.
 *  Throws KnownError FilesUnreadable where one is there in part, or a key is not its certificate's. */
export function readAuthorities(paths: DataDirPaths): Authorities | null {
  const server = readPair(paths.serverCa)
  const client = readPair(paths.clientCa)
  if (server === null && client === null) return null
  return { server: whole(paths.serverCa, server), client: whole(paths.clientCa, client) }
}

export function whole(at: PairPaths, pair: Pair | null): Pair {
  const opened = pair === null ? null : opening(pair)
  if (pair === null || opened === null) {
    throw new KnownError("FilesUnreadable", `${at.cert} and ${at.key} must both be there in PEM`)
  }
  if (opened.cert.ca && opened.cert.checkPrivateKey(opened.key)) return pair
  throw new KnownError("FilesUnreadable", `${at.key} is not the key of a CA in ${at.cert}`)
}

/** Where one file of the two is missing its text is "". */
export function readPair(at: PairPaths): Pair | null {
  const cert = readIfPresent(at.cert)
  const key = readIfPresent(at.key)
  return cert === null && key === null ? null : { cert: cert ?? "", key: key ?? "" }
}

/** Brings `server/tls` in line with the authorities and names, and returns what the server is to show. At rest it only reads:
 *  call it at the start and then every hour. */
export async function ensureCertificates(given: {
  readonly paths: DataDirPaths
  readonly authorities: Authorities
  readonly names: readonly string[]
  readonly now: Date
}): Promise<Certificates> {
  const { paths, authorities, names, now } = given
  writePair(paths.serverCa, authorities.server)
  writePair(paths.clientCa, authorities.client)
  const serving = await ensured(paths.serving, {
    what: "serving certificate",
    wanted: { ca: authorities.server, names, now },
    make: () => issueServing(authorities.server, { names, now }),
  })
  const admin = await ensured(paths.admin, {
    what: "admin client certificate",
    wanted: { ca: authorities.client, now },
    make: () => issueAdmin(authorities.client, { now }),
  })
  return {
    serving: serving.pair,
    admin: admin.pair,
    issued: [serving, admin].flatMap(({ issued }) => (issued === null ? [] : [issued])),
  }
}

interface Recipe {
  readonly what: string
  readonly wanted: Wanted
  make(): Promise<Pair>
}

export async function ensured(at: PairPaths, { what, wanted, make }: Recipe) {
  const found = readPair(at)
  const reason = renewalReason(found, wanted)
  if (found !== null && reason === null) return { pair: found, issued: null }
  const pair = await make()
  writePair(at, pair)
  return { pair, issued: `issued a new ${what}, because ${reason}` }
}

/** A crash between the two leaves a key that is another one's, which the next start sees and mends. */
export function writePair(at: PairPaths, { cert, key }: Pair) {
  stepSync("certificate-key", () => writeIfChanged(at.key, key))
  stepSync("certificate", () => writeIfChanged(at.cert, cert, { mode: 0o644 }))
}
