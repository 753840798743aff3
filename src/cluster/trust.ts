/** Whether a server is the one that the token names, before it sees the password. The sequence and its messages are K3s', in an
 *  order that spares the usual case the host's trust store (it takes 0.1 s to load). */
import { Agent } from "node:https"
import { getCACertificates } from "node:tls"
import { caHash, checkClusterCa, type Token } from "./token.ts"
import { isKnown, KnownError } from "../errors.ts"
import { exchange, type Exchange } from "./http.ts"

export interface Trusted {
  /** Speaks with the verified server only. */
  readonly agent: Agent
  /** For the person at the terminal, or null. */
  readonly warning: string | null
}

type Ask = Pick<Exchange, "timeoutMs" | "signal">

/** Throws what {@link exchange} throws, and TokenInvalid where the token names another CA than the server shows. */
export async function trust(server: URL, token: Token, ask: Ask): Promise<Trusted> {
  const url = new URL("/cacerts", server)
  const fetch = (agent: Agent) => exchange({ url, method: "GET", agent, ...ask })
  const verifies = async (agent: Agent) => {
    try {
      return (await fetch(agent)).status === 200
    } catch (error) {
      if (isKnown(error, "ServerUntrusted")) return false
      throw error
    }
  }

  const shown = await fetch(new Agent({ rejectUnauthorized: false }))
  const bundle = shown.status === 200 && shown.body.includes("CERTIFICATE") ? shown.body : null
  const shownCa = bundle === null ? null : new Agent({ ca: bundle, keepAlive: true })
  const isNamed = bundle !== null && caHash(bundle) === token.caHash
  if (shownCa !== null && isNamed && (await verifies(shownCa))) {
    return { agent: shownCa, warning: null }
  }
  const host = new Agent({ ca: getCACertificates("system"), keepAlive: true })
  if (await verifies(host)) return { agent: host, warning: checkClusterCa(token, null) }
  if (shownCa === null) {
    const why = "it shows no CA certificate, and the host's trust store does not know it"
    throw new KnownError("ServerUntrusted", `failed to get CA certs: ${url.href}: ${why}`)
  }
  return { agent: shownCa, warning: checkClusterCa(token, bundle) }
}
