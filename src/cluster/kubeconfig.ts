/** The kubeconfig that a server hands to its administrator: one cluster, one user, certificates inside. */
import { dirname } from "node:path"
import { stepSync } from "../step.ts"
import { makeDir, writeIfChanged } from "./files.ts"
import type { Pair } from "./pem.ts"

/** Where a client on this machine reaches a server that listens on `bindAddress`. */
export function localUrl({ bindAddress, port }: { bindAddress: string; port: number }): string {
  const host = bindAddress === "0.0.0.0" ? "127.0.0.1" : bindAddress === "::" ? "::1" : bindAddress
  return `https://${host.includes(":") ? `[${host}]` : host}:${port}`
}

export interface Kubeconfig {
  readonly url: string
  /** PEM of the CA that the server's certificate is under. */
  readonly serverCa: string
  readonly admin: Pair
}

export const kubeconfigText = ({ url, serverCa, admin }: Kubeconfig): string => `apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    server: ${url}
    certificate-authority-data: ${base64(serverCa)}
contexts:
- name: default
  context:
    cluster: default
    user: default
current-context: default
users:
- name: default
  user:
    client-certificate-data: ${base64(admin.cert)}
    client-key-data: ${base64(admin.key)}
`

/** Makes the folder where it is missing. The file holds a private key: 0600 unless its owner said otherwise. */
export function writeKubeconfig(
  { path, mode }: { readonly path: string; readonly mode: number },
  content: Kubeconfig,
) {
  makeDir(dirname(path))
  stepSync("kubeconfig", () => writeIfChanged(path, kubeconfigText(content), { mode }))
}

const base64 = (text: string) => Buffer.from(text).toString("base64")
