/** `https://host:2379[,https://host:2379…]`, as in K3s; also `http://`, and `etcd://` for the one of the two that the
 *  files for TLS say. A name without a scheme has the one of the name before. */
import { KnownError } from "../errors.ts"
import type { TlsFiles } from "./tls-files.ts"

export const ETCD_SCHEMES = ["http", "https", "etcd"] as const
type EtcdScheme = (typeof ETCD_SCHEMES)[number]

const FORM = "https://host:2379[,https://host:2379…]"

/** The members' origins, such as `https://host:2379`. `where`: what the text was given as, for messages; the text is
 *  not quoted, for it may hold a password. Throws KnownError UsageInvalid. */
export function parseEtcdEndpoints(text: string, where: string, tls: TlsFiles): readonly string[] {
  const refuse = (why: string): never => {
    throw new KnownError("UsageInvalid", `${where} ${why}; expected is ${FORM}`)
  }
  let scheme: EtcdScheme | undefined
  const origins = text.split(",").map((part) => {
    const [, named, rest = ""] = /^(?:([a-z]+):\/\/)?(.*)$/.exec(part.trim()) ?? []
    const found = ETCD_SCHEMES.find((known) => known === (named ?? scheme))
    if (found === undefined) return refuse("has an endpoint that is none of etcd's")
    if (scheme !== undefined && found !== scheme) return refuse("mixes schemes")
    scheme = found
    const url = URL.canParse(`http://${rest}`) ? new URL(`http://${rest}`) : refuse("is no URL")
    if (url.username !== "" || url.password !== "")
      return refuse("names a user, and etcd's users are not supported, only certificates")
    if (url.pathname !== "/" || url.search !== "" || url.hash !== "")
      return refuse("has more than a host and a port")
    const port = /:\d+$/.test(rest.replace(/\/$/, "")) ? url.port || "80" : "2379"
    return `${protocolOf(found, tls)}://${url.hostname}:${port}`
  })
  return [...new Set(origins)]
}

const protocolOf = (scheme: EtcdScheme, { ca, cert, key }: TlsFiles): "http" | "https" => {
  if (scheme !== "etcd") return scheme
  return ca === null && cert === null && key === null ? "http" : "https"
}
