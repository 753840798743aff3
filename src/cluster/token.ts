/** The server token in K3s' grammar, whose messages are K3s' words too:
 *    K10<CA hash, 64 hex>::<user>:<password>     the content of <data-dir>/server/token
 *    K10<CA hash>::<6 letters>.<16 letters>      kubeadm's bootstrap token, for joining nodes
 *    <password>                                  without a CA hash a client cannot tell the true server
 *  No message here holds any part of a token but the CA hash, which is public. */
import { randomBytes, type X509Certificate } from "node:crypto"
import { KnownError } from "../errors.ts"
import { digestOf } from "../keyring/same-secret.ts"
import { certificatesOf } from "./pem.ts"

/** `caHash` is empty where the token names none. */
export type Token =
  | {
      readonly kind: "password"
      readonly caHash: string
      readonly user: string
      readonly password: string
    }
  | {
      readonly kind: "bootstrap"
      readonly caHash: string
      readonly id: string
      readonly secret: string
    }

const PREFIX = "K10"
const HASH_LENGTH = 64
const BOOTSTRAP = /^([a-z0-9]{6})\.([a-z0-9]{16})$/

/** Such a token would come back another one from the file that it is written to. */
const NOT_ONE_WORD = /^\s|\s$|[\r\n]/

/** Throws KnownError TokenInvalid. A bare password has the user "". */
export function parseToken(text: string): Token {
  if (text === "") throw invalid("token must not be empty")
  if (NOT_ONE_WORD.test(text))
    throw invalid("token must not have blanks at its ends, or line breaks")
  const { caHash, credentials } = split(text)
  const bootstrap = BOOTSTRAP.exec(credentials)
  if (bootstrap !== null) {
    return { kind: "bootstrap", caHash, id: bootstrap[1] ?? "", secret: bootstrap[2] ?? "" }
  }
  const colon = credentials.indexOf(":")
  const password = credentials.slice(colon + 1)
  if (colon < 0 || password === "") throw invalid("invalid token format")
  return { kind: "password", caHash, user: credentials.slice(0, colon), password }
}

function split(text: string): { caHash: string; credentials: string } {
  if (!text.startsWith(PREFIX)) {
    return { caHash: "", credentials: BOOTSTRAP.test(text) ? text : `:${text}` }
  }
  const body = text.slice(PREFIX.length)
  const border = body.indexOf("::")
  if (border < 0) return { caHash: "", credentials: body }
  if (border !== 0 && border !== HASH_LENGTH) throw invalid("invalid token CA hash length")
  return { caHash: body.slice(0, border), credentials: body.slice(border + 2) }
}

/** Half of what a token that is made here has. */
const PASSWORD_LENGTH = 16

/** As K3s does, any password is taken; what it seals can be tried at by whoever has a copy of the datastore. */
export const isShort = (password: string): boolean => password.length < PASSWORD_LENGTH
export const SHORT = `the token's password has fewer than ${PASSWORD_LENGTH} characters: whoever has a copy of the datastore can guess it`

/** The password alone, which is what opens the keyring's slot ("normalized token" in K3s). */
export function passwordOf(text: string): string {
  const token = parseToken(text)
  if (token.kind === "password") return token.password
  throw invalid(
    "failed to normalize token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>",
  )
}

export interface TokenParts {
  readonly caHash: string
  readonly user: string
  readonly password: string
}

export const formatToken = ({ caHash, user, password }: TokenParts): string =>
  `${PREFIX}${caHash}::${user}:${password}`

export const randomPassword = (): string => randomBytes(16).toString("hex")

/** SHA-256 in hex: of the file's own bytes where `bundle` is one certificate, of the root's DER where it is a chain, so that
 *  a new intermediate leaves old tokens good. */
export function caHash(bundle: string): string {
  const [first, ...others] = certificatesOf(bundle)
  if (first === undefined) throw invalid("the CA bundle holds no certificate")
  return digestOf(rootOf(first, others)?.raw ?? bundle).toString("hex")
}

function rootOf(first: X509Certificate, others: X509Certificate[]): X509Certificate | null {
  const issuer = others.find((other) => first.checkIssued(other) && first.verify(other.publicKey))
  if (issuer === undefined) return null
  if (issuer.checkIssued(issuer)) return issuer
  return rootOf(
    issuer,
    others.filter((other) => other !== issuer),
  )
}

/** The last step of a client that asks a server for its CA. `cacerts` is what `/cacerts` answered, null where the host's own
 *  trust store already accepts the server. Returns a warning to print, or null; throws TokenInvalid on a false server. */
export function checkClusterCa(token: Token, cacerts: string | null): string | null {
  if (cacerts === null) {
    if (token.caHash === "") return null
    return "Cluster CA certificate is trusted by the host CA bundle. Token CA hash will not be validated."
  }
  if (token.caHash === "") {
    return (
      "Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA hash. " +
      "Use the full token from the server's node-token file to enable Cluster CA validation."
    )
  }
  const found = caHash(cacerts)
  if (found === token.caHash) return null
  throw invalid(
    `token CA hash does not match the Cluster CA certificate hash: ${token.caHash} != ${found}`,
  )
}

const invalid = (message: string) => new KnownError("TokenInvalid", message)
