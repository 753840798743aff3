/** The server's two authorities and the certificates under them, with K3s' subjects and file names. An authority comes as a
 *  value (the keyring holds it); what lies in `server/tls` is output, remade whenever it no longer serves.
 *
 *  Looking at certificates is node:crypto's work and costs a start nothing; the library that *issues* them takes 0.1 s
 *  to load, so it is loaded only when there is something to issue. */
import type { KeyObject } from "node:crypto"
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto"
import { isIP, SocketAddress } from "node:net"
import type { Extension, X509CertificateCreateWithKeyParams } from "@peculiar/x509"
import { bug, KnownError } from "../errors.ts"
import type { Keyring } from "../keyring/keyring.ts"
import type { DataDirPaths } from "./data-dir.ts"
import { readIfPresent, writeIfChanged } from "./files.ts"

/** PEM. `cert` may be a chain: the certificate itself first, then those that issued it. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

/** `server` signs what servers show, `client` what users show. */
export type Authorities = Keyring["authorities"]

export interface Certificates {
  readonly serving: Pair
  readonly admin: Pair
  /** One sentence for each certificate that was issued now, with the reason; for the log. */
  readonly issued: readonly string[]
}

const DAY_MS = 24 * 60 * 60 * 1000
const AUTHORITY_DAYS = 3650
const LEAF_DAYS = 365
const RENEW_BELOW_DAYS = 30
/** A client whose clock is behind ours still accepts what was issued a moment ago. */
const BACKDATE_MS = 60 * 60 * 1000

/** Tells our serving certificate from one that K3s made. */
const SERVING_NAME = "keyturn-server"

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** The certificates of a PEM bundle in their order. Throws KnownError FilesUnreadable on a broken one. */
export function certificatesOf(bundle: string): X509Certificate[] {
  try {
    return (bundle.match(PEM) ?? []).map((pem) => new X509Certificate(pem))
  } catch (cause) {
    throw new KnownError("FilesUnreadable", "a certificate of the bundle is not readable", {
      cause,
    })
  }
}

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

/** Two new authorities; for the first start of an empty data directory only. */
export async function makeAuthorities(now: Date): Promise<Authorities> {
  return { server: await authority("server", now), client: await authority("client", now) }
}

async function authority(role: "server" | "client", now: Date): Promise<Pair> {
  const { BasicConstraintsExtension, KeyUsageFlags, KeyUsagesExtension } = await library()
  const subject = [{ CN: [`keyturn-${role}-ca@${Math.floor(now.getTime() / 1000)}`] }]
  const usages = KeyUsageFlags.digitalSignature | KeyUsageFlags.keyCertSign
  const keys = newKeys()
  return issue(keys, {
    subject,
    issuer: subject,
    ...signingWith(keys.privateKey),
    ...validity(now, AUTHORITY_DAYS),
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(usages, true),
    ],
  })
}

/** What the server shows. `names` as {@link servingNames} gives them. */
export async function issueServing(
  ca: Pair,
  { names, now }: { readonly names: readonly string[]; readonly now: Date },
): Promise<Pair> {
  const { ExtendedKeyUsage, SubjectAlternativeNameExtension } = await library()
  const san = names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }) as const)
  return issueLeaf(ca, {
    subject: [{ CN: [SERVING_NAME] }],
    usage: ExtendedKeyUsage.serverAuth,
    more: [new SubjectAlternativeNameExtension(san)],
    now,
  })
}

/** The client certificate of the kubeconfig; `system:masters` is the group that may do all. */
export async function issueAdmin(ca: Pair, { now }: { readonly now: Date }): Promise<Pair> {
  const { ExtendedKeyUsage } = await library()
  return issueLeaf(ca, {
    subject: [{ O: ["system:masters"] }, { CN: ["system:admin"] }],
    usage: ExtendedKeyUsage.clientAuth,
    more: [],
    now,
  })
}

interface Leaf {
  readonly subject: Record<string, string[]>[]
  readonly usage: string
  readonly more: Extension[]
  readonly now: Date
}

async function issueLeaf(ca: Pair, { subject, usage, more, now }: Leaf): Promise<Pair> {
  const x509 = await library()
  const issuer = new x509.X509Certificate(firstOf(ca).raw)
  const issuerId = issuer.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId
  const keys = newKeys()
  const leaf = await issue(keys, {
    subject,
    issuer: issuer.subjectName,
    ...signingWith(createPrivateKey(ca.key)),
    ...within(issuer, validity(now, LEAF_DAYS)),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([usage]),
      ...(issuerId === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(issuerId)]),
      ...more,
    ],
  })
  return { cert: leaf.cert + ca.cert, key: leaf.key }
}

type Keys = ReturnType<typeof newKeys>

const newKeys = () => generateKeyPairSync("ec", { namedCurve: "prime256v1" })

async function issue(
  { publicKey, privateKey }: Keys,
  params: Omit<X509CertificateCreateWithKeyParams, "publicKey">,
): Promise<Pair> {
  const { SubjectKeyIdentifierExtension, X509CertificateGenerator } = await library()
  const subjectKey = publicKey.toCryptoKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["verify"])
  const cert = await X509CertificateGenerator.create({
    ...params,
    publicKey: subjectKey,
    extensions: [
      ...(params.extensions ?? []),
      await SubjectKeyIdentifierExtension.create(subjectKey),
    ],
  })
  return {
    cert: `${cert.toString("pem")}\n`,
    key: privateKey.export({ type: "pkcs8", format: "pem" }),
  }
}

/** An authority that came with a K3s data directory may have any of the usual keys. */
function signingWith(key: KeyObject) {
  const algorithm = signatureOf(key)
  return {
    signingKey: key.toCryptoKey(algorithm, false, ["sign"]),
    signingAlgorithm: algorithm,
  }
}

function signatureOf(key: KeyObject) {
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (key.asymmetricKeyType === "rsa") return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }
  if (key.asymmetricKeyType === "ed25519") return { name: "Ed25519" }
  if (curve === "prime256v1") return { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" }
  if (curve === "secp384r1") return { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" }
  if (curve === "secp521r1") return { name: "ECDSA", namedCurve: "P-521", hash: "SHA-512" }
  throw new KnownError(
    "FilesUnreadable",
    `cannot sign with a CA key of type ${key.asymmetricKeyType} ${curve ?? ""}; known are RSA, Ed25519, P-256, P-384 and P-521`,
  )
}

const validity = (now: Date, days: number) => ({
  notBefore: new Date(now.getTime() - BACKDATE_MS),
  notAfter: new Date(now.getTime() + days * DAY_MS),
})

/** No certificate is good for longer than the one that issued it. */
const within = (
  issuer: { readonly notBefore: Date; readonly notAfter: Date },
  wanted: ReturnType<typeof validity>,
) => ({
  notBefore: new Date(Math.max(wanted.notBefore.getTime(), issuer.notBefore.getTime())),
  notAfter: new Date(Math.min(wanted.notAfter.getTime(), issuer.notAfter.getTime())),
})

async function library() {
  await import("reflect-metadata")
  return import("@peculiar/x509")
}

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

type PairPaths = { readonly cert: string; readonly key: string }

/** The authorities that lie in the data directory: K3s' own, or what an earlier start wrote; null where there are none.
 *  Throws KnownError FilesUnreadable where one is there in part, or a key is not its certificate's. */
export function readAuthorities(paths: DataDirPaths): Authorities | null {
  const server = readPair(paths.serverCa)
  const client = readPair(paths.clientCa)
  if (server === null && client === null) return null
  return { server: whole(paths.serverCa, server), client: whole(paths.clientCa, client) }
}

function whole(at: PairPaths, pair: Pair | null): Pair {
  const opened = pair === null ? null : opening(pair)
  if (pair === null || opened === null) {
    throw new KnownError("FilesUnreadable", `${at.cert} and ${at.key} must both be there in PEM`)
  }
  if (opened.cert.ca && opened.cert.checkPrivateKey(opened.key)) return pair
  throw new KnownError("FilesUnreadable", `${at.key} is not the key of a CA in ${at.cert}`)
}

/** Where one file of the two is missing its text is "". */
function readPair(at: PairPaths): Pair | null {
  const cert = readIfPresent(at.cert)
  const key = readIfPresent(at.key)
  return cert === null && key === null ? null : { cert: cert ?? "", key: key ?? "" }
}

/** Brings `server/tls` in line with the authorities and names, and returns what the server is to show. At rest it only reads:
 *  call it at the start and then once a day. */
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

async function ensured(at: PairPaths, { what, wanted, make }: Recipe) {
  const found = readPair(at)
  const reason = renewalReason(found, wanted)
  if (found !== null && reason === null) return { pair: found, issued: null }
  const pair = await make()
  writePair(at, pair)
  return { pair, issued: `issued a new ${what}, because ${reason}` }
}

/** A crash between the two leaves a key that is another one's, which the next start sees and mends. */
function writePair(at: PairPaths, { cert, key }: Pair) {
  writeIfChanged(at.key, key)
  writeIfChanged(at.cert, cert, { mode: 0o644 })
}

const firstOf = (pair: Pair): X509Certificate =>
  certificatesOf(pair.cert)[0] ?? bug("an authority without a certificate")
