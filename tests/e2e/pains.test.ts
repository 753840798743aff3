/** What lost keys or Secrets to users of K3s, and does not happen here; docs/pains.md has all of it. */
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { expect, test } from "vitest"
import { dataDirPaths } from "../../src/cluster/data-dir.ts"
import { apiClient } from "../harness/api.ts"
import { ENABLED, expectStatus, secretsEncrypt } from "../harness/secrets-encrypt.ts"
import { startServer } from "../harness/server.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"

test("the flag is dropped and the configuration put back to before the keys: all is read, and the files are mended", async () => {
  // docs/pains.md 6: a node that was rebuilt from an older configuration had the identity alone, and what was stored was called
  // permanently undecryptable.
  await using server = await startServer({ args: ["--secrets-encryption"] })
  const { encryptionConfig, encryptionState } = dataDirPaths(server.dataDir)
  const of = { value: Buffer.from("one").toString("base64") }
  {
    using client = apiClient(server.kubeconfig)
    const body = { apiVersion: "v1", kind: "Secret", metadata: { name: "one" }, data: of }
    expect((await client.call("POST", SECRETS, body)).status).toBe(201)
  }
  await secretsEncrypt(server, "rotate-keys")
  const config = readFileSync(encryptionConfig, "utf8")
  await server.stop()

  const resources = [{ resources: ["secrets"], providers: [{ identity: {} }] }]
  const identity = { kind: "EncryptionConfiguration", apiVersion: "apiserver.config.k8s.io/v1" }
  writeFileSync(encryptionConfig, JSON.stringify({ ...identity, resources }))
  rmSync(encryptionState)
  await server.start(["--secrets-encryption=false"])
  await expectStatus(server, ENABLED)
  expect(readFileSync(encryptionConfig, "utf8")).toBe(config)
  using client = apiClient(server.kubeconfig)
  const { status, body } = await client.call("GET", `${SECRETS}/one`)
  expect(status, body).toBe(200)
  expect(JSON.parse(body).data).toEqual(of)
})
