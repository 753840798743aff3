/** Certificates and keys as text. */
import { X509Certificate } from "node:crypto"
import { bug, KnownError } from "../errors.ts"
import type { Keyring } from "../keyring/keyring.ts"

/** PEM. `cert` may be a chain: the certificate itself first, then those that issued it. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

/** `server` signs what servers show, `client` what users show. */
export type Authorities = Keyring["authorities"]

/** `server` signs what the embedded etcd and its clients show each other, `peer` what its members do. */
export interface EtcdAuthorities {
  readonly server: Pair
  readonly peer: Pair
}

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

/** The certificate itself, before those that issued it. */
export const firstOf = (pair: Pair): X509Certificate =>
  certificatesOf(pair.cert)[0] ?? bug("an authority without a certificate")
