/** `keyturn secrets-encrypt` as K3s' own tests drive `k3s secrets-encrypt`, and what they look for in its status. */
import { expect } from "vitest"
import { until } from "./process.ts"
import { keyturn, type TestServer } from "./server.ts"

/** Standard output of a verb that succeeds. */
export async function secretsEncrypt(
  server: TestServer,
  ...words: readonly string[]
): Promise<string> {
  const { code, stdout, stderr } = await keyturn(server, ["secrets-encrypt", ...words])
  expect({ code, stderr }, words.join(" ")).toEqual({ code: 0, stderr: expect.any(String) })
  return stdout
}

/** Waits as K3s' tests do; a wrong status fails with what was seen last, which may be a refusal. */
export async function expectStatus(
  server: TestServer,
  ...expected: readonly (string | RegExp)[]
): Promise<string> {
  let seen = ""
  const fits = (part: string | RegExp) =>
    typeof part === "string" ? seen.includes(part) : part.test(seen)
  await until(
    async () => {
      const { code, stdout, stderr } = await keyturn(server, ["secrets-encrypt", "status"])
      seen = code === 0 ? stdout : stderr
      return expected.every(fits)
    },
    { timeoutMs: 15_000, intervalMs: 200 },
  ).catch(() => {})
  for (const part of expected) expect(seen).toEqual(expect.stringMatching(asPattern(part)))
  return seen
}

const asPattern = (part: string | RegExp): RegExp =>
  part instanceof RegExp ? part : new RegExp(part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))

export const keysIn = (status: string): string[] => status.match(/AES-CBC.+aescbckey.*/g) ?? []
export const keyName = (line: string | undefined): string => line?.replace(/^AES-CBC +/, "") ?? ""

export const ENABLED = "Encryption Status: Enabled"
export const DISABLED = "Encryption Status: Disabled"
export const MATCH = "Server Encryption Hashes: All hashes match"
export const MISMATCH = "Server Encryption Hashes: hash does not match between "
export const stage = (name: string): RegExp => new RegExp(`^Current Rotation Stage: ${name}$`, "m")
/** The name of a key that is not the first. */
export const dated = /aescbckey-\d{4}-\d\d-\d\d/
