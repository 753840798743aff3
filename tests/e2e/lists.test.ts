/** K3s' own acceptance lists for one server (reference section 9, A and E), through the real command and the real server: the same
 *  steps and the same strings. Added to each: every Secret reads as it was written, and the stored bytes are under the right key. */
import { describe, expect, test } from "vitest"
import { apiClient } from "../harness/api.ts"
import { until } from "../harness/process.ts"
import {
  dated,
  DISABLED,
  ENABLED,
  expectStatus,
  keyName,
  keysIn,
  MATCH,
  secretsEncrypt,
  stage,
} from "../harness/secrets-encrypt.ts"
import { keyturn, startServer, type TestServer } from "../harness/server.ts"
import { censusOfSecrets } from "../harness/stored.ts"

const SECRETS = "/api/v1/namespaces/default/secrets"
const names = Array.from({ length: 25 }, (_, n) => `s${String(n).padStart(2, "0")}`)
const base64 = (text: string) => Buffer.from(text).toString("base64")

async function fill(server: TestServer) {
  using api = apiClient(server.kubeconfig)
  for (const name of names) {
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name } }
    const { status, body } = await api.call("POST", SECRETS, {
      ...secret,
      data: { of: base64(name) },
    })
    expect(status, body).toBe(201)
  }
}

async function expectAllReadable(server: TestServer) {
  using api = apiClient(server.kubeconfig)
  const { body } = await api.call("GET", SECRETS)
  const { items } = JSON.parse(body) as {
    items: { metadata: { name: string }; data: { of: string } }[]
  }
  const read = items.map(({ metadata, data }) => [metadata.name, data.of])
  expect(read).toEqual(names.map((name) => [name, base64(name)]))
}

const WAYS = ["watch", "restart"].flatMap((reload) =>
  ["stop", "kill -9"].map((ending) => ({ reload, ending })),
)

describe.each(WAYS)(
  "--encryption-reload=$reload, $ending between the steps",
  ({ reload, ending }) => {
    const mode = ["--encryption-reload", reload]

    async function again(server: TestServer, args: readonly string[] = []) {
      if (ending === "stop") expect(await server.stop()).toBe(0)
      else await server.kill9()
      await server.start(args)
    }

    test("list A: prepare, rotate, reencrypt, disable", async () => {
      await using server = await startServer({ args: ["--secrets-encryption", ...mode] })
      await expectStatus(server, ENABLED, stage("start"), MATCH)
      await fill(server)

      expect(await secretsEncrypt(server, "prepare")).toBe("prepare completed successfully\n")
      const prepared = keysIn(await expectStatus(server, stage("prepare")))
      expect(prepared).toEqual([expect.stringMatching(/aescbckey$/), expect.stringMatching(dated)])
      await again(server)

      expect(await secretsEncrypt(server, "rotate")).toBe("rotate completed successfully\n")
      const rotated = keysIn(await expectStatus(server, stage("rotate")))
      expect(rotated).toEqual([expect.stringMatching(dated), expect.stringMatching(/aescbckey$/)])
      await again(server)

      expect(await secretsEncrypt(server, "reencrypt")).toBe("reencryption started\n")
      const finished = keysIn(await expectStatus(server, ENABLED, stage("reencrypt_finished")))
      expect(finished).toEqual([expect.stringMatching(dated)])
      expect(Object.keys(censusOfSecrets(server.dataDir))).toEqual([
        `aescbc:v1:${keyName(finished[0])}`,
      ])
      await expectAllReadable(server)

      expect(await secretsEncrypt(server, "disable")).toBe("secrets-encryption disabled\n")
      await expectStatus(server, DISABLED, stage("reencrypt_finished"))
      await again(server)

      expect(await secretsEncrypt(server, "reencrypt", "-f", "--skip")).toBe(
        "reencryption started\n",
      )
      expect(keysIn(await expectStatus(server, DISABLED, MATCH))).toEqual(finished)
      await until(() => Object.keys(censusOfSecrets(server.dataDir)).join() === "plain")
      await expectAllReadable(server)

      expect(await secretsEncrypt(server, "enable", "--wait")).toBe(
        "secrets-encryption enabled\nreencryption finished\n",
      )
      await again(server)
      await expectStatus(server, ENABLED, MATCH)
      expect(Object.keys(censusOfSecrets(server.dataDir))).toEqual([
        `aescbc:v1:${keyName(finished[0])}`,
      ])
      await expectAllReadable(server)
    })

    test("list E: encryption turned on where there was none", async () => {
      await using server = await startServer({ args: mode })
      expect(await secretsEncrypt(server, "status")).toBe(
        "Encryption Status: Disabled, no configuration file found\n",
      )
      await fill(server)
      expect(censusOfSecrets(server.dataDir)).toEqual({ plain: names.length })

      expect(await secretsEncrypt(server, "enable")).toBe("secrets-encryption enabled\n")
      // K3s: still Disabled here, until rotate-keys. In keyturn enable is the whole of it.
      await expectStatus(server, ENABLED, stage("start"), MATCH)
      await again(server, ["--secrets-encryption"])
      await expectStatus(server, ENABLED, stage("start"), MATCH)
      await until(() => censusOfSecrets(server.dataDir)["plain"] === undefined)

      expect(await secretsEncrypt(server, "rotate-keys")).toBe(
        "keys rotated, reencryption finished\n",
      )
      await again(server, ["--secrets-encryption"])
      const keys = keysIn(await expectStatus(server, ENABLED, stage("reencrypt_finished"), MATCH))
      expect(keys).toEqual([expect.stringMatching(dated)])
      expect(Object.keys(censusOfSecrets(server.dataDir))).toEqual([
        `aescbc:v1:${keyName(keys[0])}`,
      ])
      await expectAllReadable(server)
    })

    test("a verb is repeated at its own stage, refused at another, and taken there with --force", async () => {
      await using server = await startServer({ args: ["--secrets-encryption", ...mode] })
      await secretsEncrypt(server, "prepare")
      const before = await secretsEncrypt(server, "status")
      await again(server)
      expect(await secretsEncrypt(server, "prepare")).toBe("prepare completed successfully\n")
      expect(await secretsEncrypt(server, "status")).toBe(before)

      const refused = await keyturn(server, ["secrets-encrypt", "reencrypt"])
      expect(refused).toEqual({
        code: 16,
        stdout: "",
        stderr: expect.stringMatching(
          /^keyturn: error: incorrect stage: .*\nkeyturn: hint: run: \S*keyturn .*\n$/,
        ),
      })
      expect(await secretsEncrypt(server, "status")).toBe(before)
      await secretsEncrypt(server, "reencrypt", "--force", "--skip", "--wait")
      await expectStatus(server, ENABLED, stage("prepare"), MATCH)
    })
  },
)
