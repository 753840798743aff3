/** Makes authorities, and the certificates under them, with K3s' subjects. The library that does it takes 0.1 s to load, so it
 *  is loaded only when there is something to issue. */
import type { KeyObject } from "node:crypto"
import { createPrivateKey, generateKeyPairSync } from "node:crypto"
import { isIP } from "node:net"
import type { Extension, X509CertificateCreateWithKeyParams } from "@peculiar/x509"
import { KnownError } from "../errors.ts"
import { type Authorities, type EtcdAuthorities, firstOf, type Pair } from "./pem.ts"

export const DAY_MS = 24 * 60 * 60 * 1000
const AUTHORITY_DAYS = 3650
const LEAF_DAYS = 365
/** A client whose clock is behind ours still accepts what was issued a moment ago. */
const BACKDATE_MS = 60 * 60 * 1000

/** Tells our serving certificate from one that K3s made. */
export const SERVING_NAME = "keyturn-server"

/** Two new authorities; for the first start of an empty data directory only. */
export async function makeAuthorities(now: Date): Promise<Authorities> {
  return { server: await authority("server", now), client: await authority("client", now) }
}

/** Those of the embedded etcd: `server` is for its clients, `peer` for its members among each other. */
export async function makeEtcdAuthorities(now: Date): Promise<EtcdAuthorities> {
  return { server: await authority("etcd-server", now), peer: await authority("etcd-peer", now) }
}

type Role = "server" | "client" | "etcd-server" | "etcd-peer"

async function authority(role: Role, now: Date): Promise<Pair> {
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

/** What the server shows. `names` as servingNames in certificates.ts gives them. */
export async function issueServing(
  ca: Pair,
  { names, now }: { readonly names: readonly string[]; readonly now: Date },
): Promise<Pair> {
  const { ExtendedKeyUsage, SubjectAlternativeNameExtension } = await library()
  return issueLeaf(ca, {
    subject: [{ CN: [SERVING_NAME] }],
    usages: [ExtendedKeyUsage.serverAuth],
    more: [new SubjectAlternativeNameExtension(generalNames(names))],
    now,
  })
}

const generalNames = (names: readonly string[]) =>
  names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }) as const)

/** The client certificate of the kubeconfig; `system:masters` is the group that may do all. */
export async function issueAdmin(ca: Pair, { now }: { readonly now: Date }): Promise<Pair> {
  const { ExtendedKeyUsage } = await library()
  return issueLeaf(ca, {
    subject: [{ O: ["system:masters"] }, { CN: ["system:admin"] }],
    usages: [ExtendedKeyUsage.clientAuth],
    more: [],
    now,
  })
}

/** What a member of the embedded etcd, or its client, shows: each is asked for a certificate, and members call each other. */
export async function issueEtcd(
  ca: Pair,
  {
    name,
    names,
    now,
  }: { readonly name: string; readonly names: readonly string[]; readonly now: Date },
): Promise<Pair> {
  const { ExtendedKeyUsage, SubjectAlternativeNameExtension } = await library()
  return issueLeaf(ca, {
    subject: [{ CN: [name] }],
    usages: [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth],
    more: [new SubjectAlternativeNameExtension(generalNames(names))],
    now,
  })
}

interface Leaf {
  readonly subject: Record<string, string[]>[]
  readonly usages: string[]
  readonly more: Extension[]
  readonly now: Date
}

async function issueLeaf(ca: Pair, { subject, usages, more, now }: Leaf): Promise<Pair> {
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
      new x509.ExtendedKeyUsageExtension(usages),
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
