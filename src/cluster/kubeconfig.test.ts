import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { parse } from "yaml"
import { kubeconfigText, localUrl, writeKubeconfig } from "./kubeconfig.ts"

const CONTENT = {
  url: "https://127.0.0.1:6443",
  serverCa: "the CA\n",
  admin: { cert: "the certificate\n", key: "the key\n" },
}
const decoded = (data: string) => Buffer.from(data, "base64").toString()

test.each([
  ["0.0.0.0", "https://127.0.0.1:6443"],
  ["::", "https://[::1]:6443"],
  ["10.0.0.5", "https://10.0.0.5:6443"],
  ["fd00::5", "https://[fd00::5]:6443"],
])("a server bound to %s is reached at %s", (bindAddress, url) => {
  expect(localUrl({ bindAddress, port: 6443 })).toBe(url)
})

test("the text is a whole kubeconfig", () => {
  const config = parse(kubeconfigText(CONTENT))
  expect(config).toMatchObject({ apiVersion: "v1", kind: "Config", "current-context": "default" })
  expect(config.contexts).toEqual([
    { name: "default", context: { cluster: "default", user: "default" } },
  ])
  const { server, "certificate-authority-data": ca } = config.clusters[0].cluster
  const { "client-certificate-data": cert, "client-key-data": key } = config.users[0].user
  expect(server).toBe(CONTENT.url)
  expect(decoded(ca)).toBe(CONTENT.serverCa)
  expect({ cert: decoded(cert), key: decoded(key) }).toEqual(CONTENT.admin)
})

test("the file is there with the mode asked for, in a folder that need not exist", () => {
  const dir = mkdtempSync(join(tmpdir(), "keyturn-kubeconfig-"))
  const path = join(dir, "new", "k.yaml")
  writeKubeconfig({ path, mode: 0o600 }, CONTENT)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  writeKubeconfig({ path, mode: 0o644 }, CONTENT)
  expect(statSync(path).mode & 0o777).toBe(0o644)
  expect(readFileSync(path, "utf8")).toBe(kubeconfigText(CONTENT))
  rmSync(dir, { recursive: true })
})
